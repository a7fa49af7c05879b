"""Feature tables of the engine."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from carls import _core
from carls.bank.checks import check_meta, check_step, least_step
from carls.bank.columns import (
    arrow_schema,
    check_batch,
    core_kinds,
    fixed_nbytes,
    from_core,
    to_core,
)
from carls.bank.keyed import NO_ROOM, KeyedTable, empty_meta
from carls.bank.tally import Written
from carls.errors import RequestTooLargeError
from carls.keys import Keys
from carls.messages import ROW_META, AgeBound, Meta
from carls.specs import FeatureSpec


class FeatureTable(KeyedTable[FeatureSpec, _core.FeatureTable]):
    """Rows of typed columns."""

    def _make_rows(self, integers: bool) -> _core.FeatureTable:
        return _core.FeatureTable(integers, core_kinds(self.spec))

    @property
    def row_nbytes(self) -> int:
        return fixed_nbytes(self.spec) + ROW_META.itemsize

    def lookup(
        self, keys: Keys, bound: AgeBound, now: int, reader: str | None = None
    ) -> tuple[pa.RecordBatch, Meta]:
        """The rows' columns and meta (n,); zeros, "" and empty lists where there is no row.

        Counted for `reader`, by name; without one, as of a scan, not counted.

        Raises:
            RequestTooLargeError: the columns of these rows take more than 64 MiB.
        """
        min_step = least_step(bound)
        rows = self.rows(keys)
        self.check_reply(len(keys))
        counted = None
        if reader is not None:
            counted = self.tally.reader(reader)
            self.demand.note(keys)
        max_age = math.inf if bound.max_age_s is None else bound.max_age_s
        try:
            raw, meta = empty_meta(len(keys))
            arrays = rows.lookup(
                keys.integers, keys.offsets, keys.data, min_step, max_age, now, raw, counted, bound.at_step
            )
        except _core.BatchTooLarge as error:
            raise RequestTooLargeError(f"table {self.name!r}: {error}", table=self.name) from None
        except NO_ROOM as error:
            raise self.full(error) from None
        return from_core(self.spec, arrays, len(keys)), meta

    def none(self) -> tuple[pa.RecordBatch, Meta]:
        """Columns without rows and meta (0,)."""
        return pa.RecordBatch.from_pylist([], schema=arrow_schema(self.spec)), empty_meta(0)[1]

    def assign(self, keys: Keys, columns: pa.RecordBatch, step: int, producer: int, now: int) -> Written:
        """Set rows to `columns`, one row a key."""
        columns = check_batch(self.name, self.spec, columns, len(keys))
        step = check_step(step)
        rows = self.rows(keys)
        arrays = to_core(self.spec, columns)
        try:
            rows.assign(keys.integers, keys.offsets, keys.data, arrays, step, producer, now)
        except NO_ROOM as error:
            raise self.full(error) from None
        return Written(len(keys))

    def restore(self, keys: Keys, columns: pa.RecordBatch, meta: Meta, now: int) -> Written:
        """Set rows to `columns`, one row a key, and to what `meta` tells."""
        arrays = to_core(self.spec, check_batch(self.name, self.spec, columns, len(keys)))
        raw = np.ascontiguousarray(check_meta(self.name, meta, len(keys))).view(np.uint8)
        rows = self.rows(keys)
        try:
            rows.restore(keys.integers, keys.offsets, keys.data, arrays, raw, now)
        except NO_ROOM as error:
            raise self.full(error) from None
        return Written(len(keys))
