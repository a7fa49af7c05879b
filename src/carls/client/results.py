"""What look-ups give: small frozen objects over numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from carls.keys import Keys, from_binary
from carls.messages import Bools, Floats, Int64s, Meta, Vectors


@dataclass(frozen=True, eq=False)
class RowsMeta:
    """What the bank tells about each of n rows."""

    _meta: Meta
    _producers: Sequence[str]

    def __len__(self) -> int:
        return len(self._meta)

    @property
    def found(self) -> Bools:
        """(n,) bool: the row exists after the call, its value is real."""
        return self._meta["found"]

    @property
    def created(self) -> Bools:
        """(n,) bool: the call made the row (version 0, step -1)."""
        return self._meta["created"]

    @property
    def fresh(self) -> Bools:
        """(n,) bool: found, not created now, and within the age bounds of the look-up."""
        return self._meta["fresh"]

    @property
    def version(self) -> npt.NDArray[np.uint32]:
        """(n,) uint32: how often the row was written."""
        return self._meta["version"]

    @property
    def count(self) -> npt.NDArray[np.uint32]:
        """(n,) uint32: how often the row was looked up for training."""
        return self._meta["count"]

    @property
    def step(self) -> Int64s:
        """(n,) int64: the producer's training step at the last write; -1: never said."""
        return self._meta["step"]

    @property
    def age(self) -> npt.NDArray[np.float64]:
        """(n,) float64: seconds since the last write, by the bank's clock."""
        return self._meta["age"]

    @property
    def producer(self) -> list[str]:
        """n names: who wrote the row last; "" for rows that nobody has written."""
        return [self._producers[number] for number in self._meta["producer"]]


@dataclass(frozen=True, eq=False)
class Rows(RowsMeta):
    """Rows of an embedding table.

    Attributes:
        values: (n, dim) of the table's dtype. Where `found` is False: zeros if the look-up was not to create
            rows; otherwise the initial value, of a key that its table did not admit or has no room for.
    """

    values: Vectors

    def __repr__(self) -> str:
        found, fresh = int(self.found.sum()), int(self.fresh.sum())
        return f"Rows(n={len(self)}, dim={self.values.shape[1]}, found={found}, fresh={fresh})"


@dataclass(frozen=True, eq=False)
class Surveyed(RowsMeta):
    """How old n rows are, and how much they are asked for.

    Attributes:
        demand: (n,) int64: how often the key stands among the last 262144 keys that were looked up in the
            table, from the table's first survey on.
    """

    demand: Int64s

    def __repr__(self) -> str:
        return f"Surveyed(n={len(self)}, found={int(self.found.sum())}, demand={int(self.demand.sum())})"


@dataclass(frozen=True, eq=False)
class Samples:
    """Candidates: a row of n keys for each context, its positives first.

    Attributes:
        shape: (contexts, n).
        keys: the keys of all contexts, contexts * n, one context after the other.
        values: (contexts, n, dim) of the table's dtype; zeros where `found` is False. (contexts, n, 0) if
            they were not asked for.
        is_positive: (contexts, n) bool: the key stands there as one of its context's positives.
        expected_count: (contexts, n) float32: how often the strategy draws that key in such a row, on
            average. Of a positive, as if just that one were not excluded; with `hits`, as it is.
        found: (contexts, n) bool: the row exists. False only for positives that have no row.
    """

    shape: tuple[int, int]
    keys: Keys
    values: Vectors
    is_positive: Bools
    expected_count: Floats
    found: Bools

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        contexts, n = self.shape
        return f"Samples(contexts={contexts}, n={n}, positives={int(self.is_positive.sum())})"


@dataclass(frozen=True, eq=False)
class Ragged:
    """A list for each of n rows.

    Attributes:
        offsets: (n + 1,) int64; row i has the elements offsets[i] to offsets[i + 1].
        values: all elements one after another: a numpy array, or `Keys` for strings.
    """

    offsets: Int64s
    values: Any

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> list[Any]:
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self._list[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[list[Any]]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: npt.ArrayLike) -> Ragged:
        """The lists of `rows` ((m,) integers), in that order."""
        chosen = np.arange(len(self))[np.asarray(rows, np.int64)]
        starts, lengths = self.offsets[chosen], self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        kept = self.values.take(places) if isinstance(self.values, Keys) else self.values[places]
        return Ragged(offsets, kept)

    @cached_property
    def _list(self) -> list[Any]:
        return list(self.values.tolist())

    @property
    def lengths(self) -> Int64s:
        """(n,) int64: elements of each row."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class FeatureRows(RowsMeta):
    """Rows of a feature table; `rows["label"]` is a column.

    Attributes:
        columns: record batch of the columns, for those who go on in Arrow.
    """

    columns: pa.RecordBatch

    def __getitem__(self, column: str) -> Any:
        """A column: (n,) numpy array (of str objects for "string"), or `Ragged` for lists."""
        if column not in self.columns.schema.names:
            raise KeyError(f"{column!r}: the table has the columns {self.columns.schema.names}")
        array = self.columns.column(column)
        if pa.types.is_list(array.type):
            return _ragged(array)
        return array.to_numpy(zero_copy_only=False)

    def __repr__(self) -> str:
        found, fresh = int(self.found.sum()), int(self.fresh.sum())
        return (
            f"FeatureRows(n={len(self)}, columns={self.columns.schema.names}, found={found}, fresh={fresh})"
        )


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The rows nearest to each of n queries; `found[i]` are those of query i.

    Attributes:
        keys: of the rows found, query by query, best first: n * k, unless there were fewer than k for
            some query.
        scores: (n, k) float32, best first. Behind the rows found: the worst score that can be, minus
            infinity, or infinity for "squared_l2".
        counts: (n,) int64: rows found for each query, at most k.
    """

    keys: Keys
    scores: npt.NDArray[np.float32]
    counts: Int64s

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, query: int) -> tuple[Keys, npt.NDArray[np.float32]]:
        """Keys and scores of the rows found for one query, as many as `counts` says."""
        if not -len(self) <= query < len(self):
            raise IndexError(query)
        query %= len(self)
        end = int(self.counts[: query + 1].sum())
        count = int(self.counts[query])
        return self.keys[end - count : end], self.scores[query, :count]

    def __iter__(self) -> Iterator[tuple[Keys, npt.NDArray[np.float32]]]:
        return (self[query] for query in range(len(self)))

    def __repr__(self) -> str:
        return f"Neighbours(n={len(self)}, k={self.scores.shape[1]}, found={int(self.counts.sum())})"


@dataclass(frozen=True, eq=False)
class Model:
    """A checkpoint.

    Attributes:
        name: of the model.
        version: counts its publications from 1.
        step: training step at which it was published.
        age: seconds since then, by the bank's clock.
        producer: who published it.
        tensors: name -> numpy array.
    """

    name: str
    version: int
    step: int
    age: float
    producer: str
    tensors: Mapping[str, npt.NDArray[Any]]

    def __repr__(self) -> str:
        return f"Model({self.name!r}, version={self.version}, step={self.step}, tensors={len(self.tensors)})"


def _ragged(array: pa.ListArray) -> Ragged:
    offsets = np.asarray(array.offsets, dtype=np.int64)
    items = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    values = (
        from_binary("string", items)
        if pa.types.is_string(items.type)
        else items.to_numpy(zero_copy_only=False)
    )
    return Ragged(offsets - offsets[0], values)
