"""A plain-dict table: the same rules as the bank's, written as simply as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from carls import _core
from carls.messages import Floats, Vectors
from carls.specs import Constant, EmbeddingSpec, Lazy, Optimizer, Uniform, Zeros
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
class Norms:
    """The mean norm of contributions or pushes: of all up to the tenth, then exponential."""

    mean: float = 0.0
    seen: int = 0

    def feed(self, norm: float) -> None:
        """Count one more."""
        self.seen += 1
        self.mean += max(1 / self.seen, 0.1) * (norm - self.mean)


@dataclass
class OracleRow:
    """One row."""

    value: Vectors
    state: OptimizerState
    version: int = 0
    count: int = 0
    step: int = -1
    producer: str = ""
    waiting: list[Floats] = field(default_factory=list)
    since: float = 0.0
    norms: Norms = field(default_factory=Norms)


class OracleTable:
    """An embedding table as a dict of rows; float32 arithmetic in numpy, values of the spec's dtype.

    Args:
        spec: the table's spec, with zeros, constant or uniform initial values.
        producer: the name that its writes carry.

    Attributes:
        optimizer: the spec's, with the learning rate of now.
        clipped: gradients of rows that were clipped so far.
        outliers: contributions that were clipped or dropped so far.
        discarded: contributions that went with their rows so far.
    """

    def __init__(self, spec: EmbeddingSpec, producer: str) -> None:
        self.spec = spec
        self.producer = producer
        self.optimizer: Optimizer | None = spec.optimizer
        self.clipped = self.outliers = self.discarded = 0
        self.rows: dict[Key, OracleRow] = {}
        self._norms = Norms()

    def lookup(self, keys: Sequence[Key], create: bool) -> tuple[Vectors, list[OracleRow | None], list[bool]]:
        """Values (n, dim), the rows (None where there is none), and which the call created."""
        created = {key for key in keys if key not in self.rows} if create else set()
        values, rows = np.zeros((len(keys), self.spec.dim), self.spec.dtype), []
        for i, key in enumerate(keys):
            row = self._row(key) if create else self.rows.get(key)
            if row is not None:
                self._settle(row)
                row.count += create
                values[i] = row.value
            rows.append(row)
        return values, rows, [key in created for key in keys]

    def assign(self, keys: Sequence[Key], values: Vectors, step: int) -> None:
        """Set rows, one after another."""
        for key, value in zip(keys, values, strict=True):
            row = self._row(key)
            self._settle(row)
            row.value = value.astype(self.spec.dtype)
            row.version += 1
            self._stamp(row, step)

    def push(self, keys: Sequence[Key], gradients: Vectors, at_step: int, now: float = 0.0) -> None:
        """Sum the gradients of equal keys, then one optimizer step for each key, or one contribution at
        `now`, in seconds."""
        assert self.optimizer is not None
        sums: dict[Key, Floats] = {}
        for key, gradient in zip(keys, gradients, strict=True):
            wide = gradient.astype(np.float32)
            sums[key] = sums[key] + wide if key in sums else wide
        if isinstance(self.spec.aggregate, Lazy):
            self._contribute(self.spec.aggregate, sums, at_step, now)
            return
        for key, gradient in sums.items():
            row = self._row(key)
            self._step(row, gradient)
            self._stamp(row, at_step)

    def set_learning_rate(self, lr: float) -> None:
        """Change the learning rate of pushes to come; the rate of now is no change."""
        assert self.optimizer is not None
        wanted = self.optimizer.with_lr(lr)
        if wanted != self.optimizer:
            self.settle()
            self.optimizer = wanted

    def settle(self) -> None:
        """Apply all that waits."""
        for row in self.rows.values():
            self._settle(row)

    def erase(self, keys: Sequence[Key]) -> list[bool]:
        """Remove rows, one after another; whether each was there."""
        gone = [self.rows.pop(key, None) for key in keys]
        self.discarded += sum(len(row.waiting) for row in gone if row is not None)
        return [row is not None for row in gone]

    def _contribute(self, lazy: Lazy, sums: dict[Key, Floats], at_step: int, now: float) -> None:
        table = self._norms.mean if self._norms.seen >= 10 else 0.0
        fed = []
        for key, gradient in sums.items():
            row, norm = self._row(key), float(np.linalg.norm(gradient.astype(np.float64)))
            most = np.inf
            if norm > 0:
                fed.append(min(norm, lazy.outlier_factor * self._norms.mean if self._norms.seen else norm))
                enough = row.norms.seen >= 10
                measure = row.norms.mean if enough else max(row.norms.mean, table)
                row.norms.feed(min(norm, lazy.outlier_factor * measure if measure else norm))
                most = lazy.outlier_factor * measure if enough or table else np.inf
            self.outliers += norm > most
            if norm > most and lazy.outliers == "drop":
                continue
            self._wait(lazy, row, gradient * np.float32(min(most / norm, 1)) if norm else gradient, now)
            self._stamp(row, at_step)
            if len(row.waiting) >= lazy.max_pending:
                self._settle(row)
        if fed:
            self._norms.feed(float(np.mean(fed)))

    def _wait(self, lazy: Lazy, row: OracleRow, gradient: Floats, now: float) -> None:
        if row.waiting and now - row.since >= lazy.max_delay_s:
            self._settle(row)
        if not row.waiting:
            row.since = now
        row.waiting.append(gradient)

    def _settle(self, row: OracleRow) -> None:
        if row.waiting:
            self._step(row, np.sum(row.waiting, 0, dtype=np.float32) / np.float32(len(row.waiting)))
            row.waiting = []

    def _step(self, row: OracleRow, gradient: Floats) -> None:
        assert self.optimizer is not None
        self.clipped += clip(self.optimizer, gradient)[1]
        row.value = self._rounded(step(self.optimizer, row.value.astype(np.float32), row.state, gradient))
        row.version += 1

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
        row.step = step
        row.producer = self.producer


def nearest_rows(keys: list[Any], values: Any, query: Any, k: int, metric: str) -> list[tuple[Any, float]]:
    """The k best (key, score) of all rows, computed in float64; equal scores by key."""
    rows, one = np.asarray(values, np.float64), np.asarray(query, np.float64)
    if metric == "squared_l2":
        scores = ((rows - one) ** 2).sum(1)
        order = sorted(range(len(keys)), key=lambda i: (scores[i], keys[i]))
    else:
        scores = rows @ one
        if metric == "cosine":
            lengths = np.sqrt((rows**2).sum(1) * (one**2).sum())
            scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        order = sorted(range(len(keys)), key=lambda i: (-scores[i], keys[i]))
    return [(keys[i], float(scores[i])) for i in order[:k]]
