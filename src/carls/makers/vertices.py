"""VertexEmbeddingMaker: what the newest checkpoint makes of every vertex."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from carls.client import EmbeddingTable, Model
from carls.errors import InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.makers.maker import KnowledgeMaker, Write

#: From a checkpoint and n keys to (n, dim) outputs: an array, or what becomes one.
Embed: TypeAlias = Callable[[Model, Keys], Any]


class VertexEmbeddingMaker(KnowledgeMaker):
    """Writes a model's output for each vertex, from each checkpoint: probabilities, logits, a hidden layer.

    So a trainer meets a vertex's neighbours in the bank and never computes them (C.-T. Lu et al.,
    "CARLS: Cross-platform Asynchronous Representation Learning System", arXiv 2105.12849).

    Args:
        vertices: embedding table with a row for each vertex, as wide as the outputs.
        embed: gives the (n, dim) outputs of a checkpoint for n keys; it holds the architecture and
            the features. Picklable, and the table that of a server, where the maker is to run in a
            process of its own.

    Raises:
        InvalidRequestError: not an embedding table.
        InvalidValueError: by `make`, if `embed` gave another shape, or numbers that are not finite.
    """

    def __init__(self, vertices: EmbeddingTable, embed: Embed) -> None:
        require_embeddings("VertexEmbeddingMaker", vertices)
        self.tables = (vertices.name,)
        self.vertices = vertices
        self.embed = embed

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        outputs = np.asarray(self.embed(model, keys), np.float32)
        if outputs.shape != (len(keys), self.vertices.dim):
            raise InvalidValueError(
                f"embed gave an array of shape {outputs.shape} for {len(keys)} keys: expected "
                f"({len(keys)}, {self.vertices.dim}), the width of table {self.vertices.name!r}"
            )
        wrong = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        if len(wrong):
            raise InvalidValueError(
                f"embed gave {outputs[wrong[0]].tolist()!s:.80} for key {keys[int(wrong[0])]!r} at step "
                f"{model.step}: expected finite numbers"
            )
        return [Write(self.vertices.name, keys, outputs)]


def require_embeddings(maker: str, table: EmbeddingTable) -> None:
    """Raise `InvalidRequestError` unless it is a handle of an embedding table."""
    if not isinstance(table, EmbeddingTable):
        raise InvalidRequestError(
            f"{maker}: {table!r:.80} is not an embedding table: expected a handle as bank.embeddings(...) "
            "gives it"
        )
