"""A plain-dict table: the same rules as the bank's, written as simply as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from carls import _core
from carls.messages import Floats, Vectors
from carls.specs import Constant, EmbeddingSpec, Optimizer, Uniform, Zeros
from carls.testing.optimizers import OptimizerState, clip, step

Key = int | str | bytes


def initial_value(spec: EmbeddingSpec, key: Key) -> Floats:
    """The first value of a key's row, (dim,) float32, before it is rounded to the table's dtype, by
    numpy's own Philox4x64-10.

    For zeros, constant and uniform initializers; see docs/initial-values.md.
    """
    initializer = spec.initializer
    if isinstance(initializer, Zeros):
        return np.zeros(spec.dim, np.float32)
    if isinstance(initializer, Constant):
        return np.full(spec.dim, initializer.value, np.float32)
    if not isinstance(initializer, Uniform):
        raise NotImplementedError(f"no plain definition of {initializer}")
    if isinstance(key, int):
        hashed = key % 2**64
    else:
        hashed = _core.xxh64(key.encode() if isinstance(key, str) else key)
    raw = np.random.Philox(key=np.array([spec.seed, hashed], np.uint64)).random_raw(spec.dim)
    unit = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    values: Floats = (initializer.low + (initializer.high - initializer.low) * unit).astype(np.float32)
    return values


@dataclass
class OracleRow:
    """One row."""

    value: Vectors
    state: OptimizerState
    version: int = 0
    count: int = 0
    step: int = -1
    producer: str = ""


class OracleTable:
    """An embedding table as a dict of rows; float32 arithmetic in numpy, values of the spec's dtype.

    Args:
        spec: the table's spec, with zeros, constant or uniform initial values.
        producer: the name that its writes carry.

    Attributes:
        optimizer: the spec's, with the learning rate of now.
        clipped: gradients of rows that were clipped so far.
    """

    def __init__(self, spec: EmbeddingSpec, producer: str) -> None:
        self.spec = spec
        self.producer = producer
        self.optimizer: Optimizer | None = spec.optimizer
        self.clipped = 0
        self.rows: dict[Key, OracleRow] = {}

    def lookup(self, keys: Sequence[Key], create: bool) -> tuple[Vectors, list[OracleRow | None], list[bool]]:
        """Values (n, dim), the rows (None where there is none), and which the call created."""
        created = {key for key in keys if key not in self.rows} if create else set()
        values, rows = np.zeros((len(keys), self.spec.dim), self.spec.dtype), []
        for i, key in enumerate(keys):
            row = self._row(key) if create else self.rows.get(key)
            if row is not None:
                row.count += create
                values[i] = row.value
            rows.append(row)
        return values, rows, [key in created for key in keys]

    def assign(self, keys: Sequence[Key], values: Vectors, step: int) -> None:
        """Set rows, one after another."""
        for key, value in zip(keys, values, strict=True):
            row = self._row(key)
            row.value = value.astype(self.spec.dtype)
            self._stamp(row, step)

    def push(self, keys: Sequence[Key], gradients: Vectors, at_step: int) -> None:
        """Sum the gradients of equal keys, then one optimizer step for each key."""
        assert self.optimizer is not None
        sums: dict[Key, Floats] = {}
        for key, gradient in zip(keys, gradients, strict=True):
            wide = gradient.astype(np.float32)
            sums[key] = sums[key] + wide if key in sums else wide
        for key, gradient in sums.items():
            row = self._row(key)
            self.clipped += clip(self.optimizer, gradient)[1]
            row.value = self._rounded(step(self.optimizer, row.value.astype(np.float32), row.state, gradient))
            self._stamp(row, at_step)

    def set_learning_rate(self, lr: float) -> None:
        """Change the learning rate of pushes to come."""
        assert self.optimizer is not None
        self.optimizer = self.optimizer.with_lr(lr)

    def erase(self, keys: Sequence[Key]) -> list[bool]:
        """Remove rows, one after another; whether each was there."""
        return [self.rows.pop(key, None) is not None for key in keys]

    def _row(self, key: Key) -> OracleRow:
        if key not in self.rows:
            value = initial_value(self.spec, key)
            self.rows[key] = OracleRow(self._rounded(value), OptimizerState.of(self.spec.optimizer, value))
        return self.rows[key]

    def _rounded(self, value: Floats) -> Vectors:
        """A float32 value as a row has it; nothing finite becomes infinite."""
        largest = np.finfo(self.spec.dtype).max
        return np.clip(value, -largest, largest).astype(self.spec.dtype)

    def _stamp(self, row: OracleRow, step: int) -> None:
        row.version += 1
        row.step = step
        row.producer = self.producer
