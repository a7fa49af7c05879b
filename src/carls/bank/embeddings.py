"""Embedding tables of the engine."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from carls import _core
from carls.bank.checks import check_gradients, check_meta, check_records, check_step, check_values, least_step
from carls.bank.clock import TICKS_PER_S
from carls.bank.keyed import MAX_REPLY_BYTES, NO_ROOM, KeyedTable, empty_meta
from carls.bank.sampling import Drawn, Sampler, Wanted
from carls.bank.tally import GrowthCounts, PendingCounts, Written
from carls.errors import InvalidRequestError, RequestTooLargeError
from carls.keys import Keys
from carls.messages import ROW_META, AgeBound, Bools, Floats, LearningRate, Meta, Vectors
from carls.specs import (
    TTL,
    Aggregation,
    Constant,
    EmbeddingSpec,
    Initializer,
    Lazy,
    Normal,
    Optimizer,
    TableSpec,
    Uniform,
)
from carls.statistics import IndexStatistics, TableStatistics
from carls.vectors import as_dtype

if TYPE_CHECKING:
    from carls.bank.indexes import TableIndex

#: Changes of the learning rate that a table remembers; older ones are forgotten.
MAX_LEARNING_RATES = 100

#: What stands for no limit in the core.
_UNLIMITED = 2**64 - 1


class _Change(NamedTuple):
    lr: float
    step: int
    producer: str
    at: float


class EmbeddingTable(KeyedTable[EmbeddingSpec, _core.EmbeddingTable]):
    """Rows of vectors with an optimizer inside.

    `spec` is the one that the table was made with. Its learning rate may have been changed since.
    `index` is what searches use in place of looking at every row, if there is one. `closed` tells that the
    table has gone, or its bank.
    """

    def __init__(self, name: str, spec: EmbeddingSpec) -> None:
        self.index: TableIndex | None = None
        self.closed = False
        self._changes: deque[_Change] = deque(maxlen=MAX_LEARNING_RATES)
        self._sampler = Sampler(name)
        super().__init__(name, spec)

    def _make_rows(self, integers: bool) -> _core.EmbeddingTable:
        spec = self.spec
        return _core.EmbeddingTable(
            integers=integers,
            dim=spec.dim,
            half=spec.dtype == "float16",
            seed=spec.seed,
            **_initializer_arguments(spec.initializer),
            **_optimizer_arguments(self.optimizer),
            **_growth_arguments(spec),
            **_aggregation_arguments(spec.aggregate),
        )

    def close(self) -> None:
        super().close()
        self.closed = True
        if self.index is not None:
            self.index.stop()

    @property
    def optimizer(self) -> Optimizer | None:
        """The spec's, with the learning rate of now."""
        made_with = self.spec.optimizer
        return made_with.with_lr(self._changes[-1].lr) if made_with and self._changes else made_with

    def accepts(self, spec: TableSpec) -> bool:
        """Whether the table may be opened with `spec`: its own, or that with the learning rate of now."""
        return self.spec.accepts(spec) or replace(self.spec, optimizer=self.optimizer).accepts(spec)

    def learning_rates(self, now_s: float) -> tuple[LearningRate, ...]:
        """The rates that took the place of the spec's, oldest first."""
        with self._lock:
            changes = tuple(self._changes)
        return tuple(LearningRate(lr, step, producer, now_s - at) for lr, step, producer, at in changes)

    def set_learning_rate(self, lr: float, step: int, producer: str, now_s: float) -> None:
        """Change the learning rate of pushes to come; the rate of now is no change.

        What waits is applied at the old rate first.
        """
        if self.spec.optimizer is None:
            raise self._without_optimizer("there is no learning rate to change")
        wanted, step = self.spec.optimizer.with_lr(lr), check_step(step)
        with self._lock:
            if wanted == self.optimizer:
                return
            self._changes.append(_Change(wanted.lr, step, producer, now_s))
            if self._rows is not None:
                self._rows.settle()
                self._rows.set_lr(wanted.lr)

    def settle(self) -> None:
        """Apply all gradients that wait; for those who read rows otherwise than by look-up or scan."""
        if self._rows is not None:
            self._rows.settle()

    @property
    def row_nbytes(self) -> int:
        return self.spec.dim * np.dtype(self.spec.dtype).itemsize + ROW_META.itemsize

    def lookup(
        self, keys: Keys, create: bool, bound: AgeBound, now: int, reader: str | None = None
    ) -> tuple[Vectors, Meta]:
        """Values (n, dim) and meta (n,) of the rows; with `create`, made where missing.

        Counted for `reader`, by name; without one, as of a scan, not counted.
        """
        min_step = least_step(bound)
        rows = self.rows(keys)
        n = len(keys)
        self.check_reply(n)
        counted = None
        if reader is not None:
            counted = self.tally.reader(reader)
            self.demand.note(keys)
        max_age = math.inf if bound.max_age_s is None else bound.max_age_s
        try:
            values = np.empty((n, self.spec.dim), self.spec.dtype)
            raw, meta = empty_meta(n)
            rows.lookup(
                keys.integers,
                keys.offsets,
                keys.data,
                create,
                min_step,
                max_age,
                now,
                values,
                raw,
                counted,
                bound.at_step,
            )
        except NO_ROOM as error:
            raise self.full(error) from None
        return values, meta

    def sample(self, wanted: Wanted, values: bool, now: int) -> Drawn:
        """Candidates, with values (contexts * n, dim) or None. Nothing is created, and no look-up counted."""
        self._check_sample(wanted.n * len(wanted.lengths), values, 0)
        # Before the keys are met: a call that fails is no use that fixes their type.
        if self._rows is None and wanted.lengths.min() < wanted.n:
            raise InvalidRequestError(
                f"table {self.name!r} has 0 rows to draw from: fill it first", table=self.name
            )
        for keys in (wanted.positives, wanted.exclude):
            if keys is not None:
                self.rows(keys)
        rows = self._rows
        assert rows is not None

        def read(keys: Keys) -> tuple[Bools, Vectors | None]:
            self._check_sample(len(keys), values, keys.nbytes)
            if not values:
                found = rows.present(keys.integers, keys.offsets, keys.data, now)
                return cast("Bools", found.view(np.bool_)), None
            vectors, meta = self.lookup(keys, False, AgeBound(), now)
            return meta["found"], vectors

        try:
            return self._sampler.draw(rows, wanted, now, str(self.spec.keys), read)
        except _core.BatchTooLarge as error:
            raise self._sample_too_large(str(error)) from None
        except NO_ROOM as error:
            raise self.full(error) from None

    def _check_sample(self, n: int, values: bool, key_nbytes: int) -> None:
        nbytes = n * (self.row_nbytes if values else ROW_META.itemsize) + key_nbytes
        if nbytes > MAX_REPLY_BYTES:
            raise self._sample_too_large(
                f"{n} candidates take {nbytes} bytes: expected at most {MAX_REPLY_BYTES}"
            )

    def _sample_too_large(self, what: str) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"sample of table {self.name!r}: {what} in one reply; ask for fewer contexts or candidates at a "
            "time, or for values=False",
            table=self.name,
        )

    def none(self) -> tuple[Vectors, Meta]:
        """Values (0, dim) and meta (0,)."""
        return np.empty((0, self.spec.dim), self.spec.dtype), empty_meta(0)[1]

    def assign(self, keys: Keys, values: Vectors, step: int, producer: int, now: int) -> Written:
        """Set rows to values (n, dim)."""
        dtype = self.spec.dtype
        values = as_dtype(check_values(self.name, values, len(keys), self.spec.dim, self.spec.largest), dtype)
        step = check_step(step)
        rows = self.rows(keys)
        try:
            written = rows.assign(keys.integers, keys.offsets, keys.data, values, step, producer, now)
        except NO_ROOM as error:
            raise self.full(error) from None
        return Written(*written)

    @property
    def record_floats(self) -> int:
        """Floats of a record: a row's value and what the spec's slots say behind it."""
        return self.spec.dim + self.spec.state_floats

    def records(self, keys: Keys, now: int) -> tuple[Floats, Meta]:
        """Records (n, record_floats) and meta (n,) of the rows. Those of keys without a row mean nothing."""
        rows = self.rows(keys)
        try:
            records = np.empty((len(keys), self.record_floats), np.float32)
            raw, meta = empty_meta(len(keys))
            rows.read_records(keys.integers, keys.offsets, keys.data, now, records, raw)
        except NO_ROOM as error:
            raise self.full(error) from None
        return records, meta

    def restore(self, keys: Keys, records: Floats, meta: Meta, now: int) -> Written:
        """Set rows to values (n, dim) or records (n, record_floats), and to what `meta` tells."""
        records = check_records(self.name, self.spec, records, len(keys))
        raw = np.ascontiguousarray(check_meta(self.name, meta, len(keys))).view(np.uint8)
        rows = self.rows(keys)
        try:
            written = rows.restore(keys.integers, keys.offsets, keys.data, records, raw, now)
        except NO_ROOM as error:
            raise self.full(error) from None
        return Written(*written)

    def push(self, keys: Keys, gradients: Vectors, step: int, producer: int, now: int) -> Written:
        """Apply gradients (n, dim) by the table's optimizer, or keep them as its aggregation says."""
        if self.spec.optimizer is None:
            raise self._without_optimizer("gradients cannot be applied")
        wide = as_dtype(check_gradients(self.name, gradients, len(keys), self.spec.dim), "float32")
        step = check_step(step)
        rows = self.rows(keys)
        try:
            pushed = rows.push(keys.integers, keys.offsets, keys.data, wide, step, producer, now)
        except NO_ROOM as error:
            raise self.full(error) from None
        return Written(*pushed)

    @property
    def nbytes(self) -> int:
        """As of all tables, and of what samples keep."""
        return super().nbytes + self._sampler.nbytes

    def statistics(self, now: int) -> TableStatistics:
        if self._rows is not None:
            self._rows.settle_due(now)
        return super().statistics(now)

    def index_statistics(self, now: int) -> IndexStatistics | None:
        return None if self.index is None else self.index.statistics(now)

    def growth(self) -> GrowthCounts:
        return GrowthCounts() if self._rows is None else GrowthCounts(*self._rows.growth())

    def pending(self) -> PendingCounts:
        return PendingCounts() if self._rows is None else PendingCounts(*self._rows.pending())

    def _without_optimizer(self, hence: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"table {self.name!r} has no optimizer: {hence}; open it with one, such as "
            "optimizer=carls.Adagrad(lr=0.1)",
            table=self.name,
        )


def _initializer_arguments(policy: Initializer) -> dict[str, Any]:
    if isinstance(policy, Uniform):
        return {"initializer": policy.name, "a": policy.low, "b": policy.high}
    if isinstance(policy, Normal):
        return {"initializer": policy.name, "a": policy.mean, "b": policy.std}
    value = policy.value if isinstance(policy, Constant) else 0.0
    return {"initializer": "constant", "a": value, "b": 0.0}


def _growth_arguments(spec: EmbeddingSpec) -> dict[str, Any]:
    eviction, admission = spec.eviction, spec.admission
    return {
        "max_rows": _UNLIMITED if spec.max_rows is None else spec.max_rows,
        "max_bytes": _UNLIMITED if spec.max_bytes is None else spec.max_bytes,
        "eviction": "none" if eviction is None else eviction.name,
        "ttl": round(eviction.seconds * TICKS_PER_S) if isinstance(eviction, TTL) else 0,
        "admit_after": 0 if admission is None else admission.after,
        "admission_window": 0 if admission is None else admission.window,
    }


def _aggregation_arguments(policy: Aggregation | None) -> dict[str, Any]:
    if not isinstance(policy, Lazy):
        return {}
    return {
        "lazy": True,
        "max_pending": policy.max_pending,
        "max_delay": round(policy.max_delay_s * TICKS_PER_S),
        "outlier_factor": policy.outlier_factor,
        "drop_outliers": policy.outliers == "drop",
    }


def _optimizer_arguments(policy: Optimizer | None) -> dict[str, Any]:
    none: dict[str, Any] = {"name": "none", "lr": 0.0, "weight_decay": 0.0}
    facts = none if policy is None else policy.to_json()
    name = facts.pop("name")
    return {"optimizer": name, "parameters": {k: float(v) for k, v in facts.items() if v is not None}}
