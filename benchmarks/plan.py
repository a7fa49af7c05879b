"""What a benchmark runs over: distributions of keys, batches, dims, rows, calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

#: Batches of keys that calls take in turn: enough that rows do not stay in the processor's cache.
BATCHES = 200
#: Exponent of the power law.
EXPONENT = 1.05

Indices = npt.NDArray[np.int64]


class Distribution(str, Enum):
    """How often each row is asked for."""

    UNIFORM = "uniform"
    POWER_LAW = "power-law"

    def draw(self, rows: int, batch: int, batches: int = BATCHES) -> list[Indices]:
        """`batches` arrays (batch,) int64 of row numbers, the same at every call.

        Under the power law the k-th most frequent row has a share proportional to k ** -1.05;
        which row that is, is shuffled.
        """
        rng = np.random.default_rng(0)
        if self is Distribution.UNIFORM:
            return list(rng.integers(0, rows, (batches, batch)))
        shares = np.arange(1, rows + 1, dtype=np.float64) ** -EXPONENT
        ranks = np.searchsorted(np.cumsum(shares) / shares.sum(), rng.random((batches, batch)))
        return list(rng.permutation(rows)[np.minimum(ranks, rows - 1)])


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        keys: distributions of the keys.
        batch: keys of a call.
        dim: elements of a row.
        rows: of the table.
        calls: of each case.
    """

    keys: tuple[Distribution, ...]
    batch: tuple[int, ...]
    dim: tuple[int, ...]
    rows: int
    calls: int

    @staticmethod
    def of(full: Plan, *, quick: bool, **chosen: Any) -> Plan:
        """What was `chosen` (anything but None) over the plan `full`, or over a tiny one if `quick`."""
        base = full if not quick else Plan(full.keys, (16,), (16,), 2000, 20)
        given = {name: value for name, value in chosen.items() if value is not None}
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, Sequence)}
        return Plan(**{**base.__dict__, **given, **lists})

    def draws(self, dim: int) -> Iterator[tuple[str, int, list[Indices]]]:
        """Title, batch, and row numbers for calls in turn: for each distribution and batch."""
        for keys in self.keys:
            for batch in self.batch:
                yield f"{keys.value} keys, {batch} x {dim}", batch, keys.draw(self.rows, batch)

    def to_config(self) -> dict[str, Any]:
        """As JSON."""
        return {**self.__dict__, "keys": [keys.value for keys in self.keys]}
