"""TowerMaker: the embeddings of items by all towers of a model, from one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from carls.client import EmbeddingTable, Model
from carls.errors import InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.makers.maker import KnowledgeMaker, Write

#: From a checkpoint and n keys to an (n, dim) array for each table, or what becomes one.
Encode: TypeAlias = Callable[[Model, Keys], Sequence[Any]]


class TowerMaker(KnowledgeMaker):
    """Writes what each tower of a model gives for the items, to a table for each tower.

    All towers' rows of an item come from one checkpoint and are written together, so that whoever
    compares them, such as `carls.torch.BankContrastiveLoss`, finds positives and negatives equally old.

    Args:
        encode: loads the checkpoint into the towers and gives their outputs for n keys, in the order of the
            tables. Picklable, and the tables those of a server, where the maker is to run in a process
            of its own.
        tables: an embedding table for each tower, as wide as its outputs.

    Raises:
        InvalidRequestError: no tables, something else than embedding tables, or one twice.
    """

    def __init__(self, encode: Encode, *tables: EmbeddingTable) -> None:
        if not tables or not all(isinstance(table, EmbeddingTable) for table in tables):
            raise InvalidRequestError(
                f"TowerMaker(tables={tables!r:.80}): expected a handle for each tower, as "
                "bank.embeddings(...) gives it"
            )
        names = [table.name for table in tables]
        if len(set(names)) < len(names):
            raise InvalidRequestError(
                f"TowerMaker(tables={names}): expected a table of its own for each tower"
            )
        self.encode = encode
        self.tables = names
        self.rows = tables

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        given = self.encode(model, keys)
        if len(given) != len(self.rows):
            raise InvalidValueError(
                f"encode gave {len(given)} arrays: expected one for each of the {len(self.rows)} tables"
            )
        return [
            Write(table.name, keys, _embeddings(table, array, len(keys)))
            for table, array in zip(self.rows, given, strict=True)
        ]


def _embeddings(table: EmbeddingTable, given: Any, n: int) -> Any:
    array = np.asarray(given, np.float32)
    if array.shape != (n, table.dim):
        raise InvalidValueError(
            f"encode gave an array of shape {array.shape} for {n} keys and table {table.name!r}: expected "
            f"({n}, {table.dim})"
        )
    return array
