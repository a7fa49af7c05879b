"""The makers of the demos: what the newest checkpoint says of every vertex."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from carls.client import Model
from carls.keys import Keys
from carls.makers import KnowledgeMaker, Write

Rows = npt.NDArray[np.float32]


class Vertices:
    """What `VertexEmbeddingMaker` is to write, by numpy alone: its process starts without PyTorch.

    Args:
        features: (n, d) float32, of all vertices; a vertex's key is its row number.
        anchors: (n,) int64 labels that vertices have for certain; -1: none.
        temperature: below 1 sharpens probabilities, 1 leaves them.
        threads: that numpy may compute with.
    """

    def __init__(
        self, features: Rows, anchors: npt.NDArray[np.int64], temperature: float, threads: int
    ) -> None:
        self.features = features
        self.anchors = anchors
        self.temperature = temperature
        self.threads = threads

    def outputs(self, model: Model, keys: Keys) -> Rows:
        """(n, classes) float32 probabilities, sharpened; of vertices with an anchor, that label."""
        with threadpool_limits(self.threads):
            rows = probabilities(model, self.features[keys.integers])
        sharp = rows ** (1 / self.temperature)
        rows = np.asarray(sharp / sharp.sum(axis=1, keepdims=True), np.float32)
        anchors = self.anchors[keys.integers]
        rows[anchors >= 0] = np.eye(rows.shape[1], dtype=np.float32)[anchors[anchors >= 0]]
        return rows

    def hidden(self, model: Model, keys: Keys) -> Rows:
        """(n, hidden) float32 activations."""
        with threadpool_limits(self.threads):
            return _hidden(model, self.features[keys.integers])


class Together(KnowledgeMaker):
    """Several makers that walk the same keys in one process."""

    def __init__(self, makers: Sequence[KnowledgeMaker]) -> None:
        self.tables = [table for maker in makers for table in maker.tables]
        self.makers = makers

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        return [write for maker in self.makers for write in maker.make(model, keys)]


def probabilities(model: Model, x: Rows) -> Rows:
    """What a checkpoint of `Perceptron` says of (n, d) inputs: (n, classes) probabilities."""
    logits = _hidden(model, x) @ model.tensors["output.weight"].T + model.tensors["output.bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Rows = odds / odds.sum(axis=1, keepdims=True)
    return result


def _hidden(model: Model, x: Rows) -> Rows:
    hidden: Rows = np.maximum(x @ model.tensors["hidden.weight"].T + model.tensors["hidden.bias"], 0)
    return hidden
