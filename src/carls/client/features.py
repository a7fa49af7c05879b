"""Feature tables, as their users see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa

from carls.bank.checks import check_step
from carls.bank.columns import check_batch, fixed_nbytes, row_nbytes
from carls.bank.keyed import MAX_PAGE_ROWS
from carls.client.arguments import age_bound, integer
from carls.client.feature_columns import FeatureColumns, as_batch
from carls.client.portable import PortableTable
from carls.client.results import FeatureRows
from carls.client.split import split, split_uneven
from carls.client.tabular import Held, Moved
from carls.errors import InvalidRequestError, RequestTooLargeError
from carls.keys import Keys
from carls.messages import (
    ROW_META,
    AgeBound,
    FeatureAssign,
    FeatureBatch,
    FeatureImport,
    FeatureLookup,
    FeaturePage,
    FeatureScan,
    Reply,
    WriteId,
)
from carls.specs import FeatureSpec
from carls.wire.limits import MAX_REQUEST_BYTES


class FeatureTable(PortableTable[FeatureSpec]):
    """A table of typed columns: labels, weights, neighbour lists."""

    def lookup(
        self,
        keys: Any,
        at_step: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
        timeout_s: float | None = None,
    ) -> FeatureRows:
        """Read the rows of n keys; arguments and errors as for `EmbeddingTable.lookup`.

        Nothing is ever created: rows that are not there have `found` False, and zeros, ""
        and empty lists in their columns. Look-ups of much data are split.
        """
        batch, bound = Keys.of(keys), age_bound(at_step, max_age_steps, max_age_s)
        return self._read(timeout_s, lambda left: self._lookup(batch, bound, left))

    def lookup_async(
        self,
        keys: Any,
        at_step: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Future[FeatureRows]:
        """As `lookup`, in the background."""
        batch, bound = Keys.of(keys), age_bound(at_step, max_age_steps, max_age_s)
        return self._read_async(timeout_s, lambda left: self._lookup(batch, bound, left))

    def assign(
        self, keys: Any, columns: Mapping[str, Any], step: int = -1, timeout_s: float | None = None
    ) -> None:
        """Set the rows of n keys.

        Args:
            keys: as for `lookup`. Where a key repeats, its last row stays.
            columns: every column of the table: n numbers or texts, or n lists (`Ragged` too).
                Numbers stay numbers and texts texts; integers may go into columns of floats. All
                columns of a row take 15 MiB at most. A row says who made it, so makers of
                different columns use different tables.
            step: the training step that the row comes from; -1: not said.
            timeout_s: deadline, for each 16 MiB of a large batch; default the bank's.

        Raises:
            InvalidValueError: missing or unknown columns, wrong types or lengths, nulls, NaN or
                infinity, too large a row; nothing was changed.
            OutcomeUnknownError: no reply in time; `flush()` repeats the write safely.
        """
        self._write(self._writes(keys, columns, step), timeout_s)

    def assign_async(
        self, keys: Any, columns: Mapping[str, Any], step: int = -1, timeout_s: float | None = None
    ) -> Future[list[Reply]]:
        """As `assign`, in the background and in order."""
        return self._write_async(self._writes(keys, columns, step), timeout_s)

    def scan(self, batch: int = 4096, timeout_s: float | None = None) -> Iterator[tuple[Keys, FeatureRows]]:
        """Walk all rows, `batch` at a time, in no particular order.

        Rows present during the whole walk come exactly once. Pages of large rows have fewer.
        """
        return self._pages(min(integer("batch", batch, 1), MAX_PAGE_ROWS), timeout_s)

    # --- requests ---

    def _lookup(self, keys: Keys, bound: AgeBound, timeout_s: float) -> FeatureRows:
        parts = split(keys, fixed_nbytes(self.spec) + ROW_META.itemsize)
        rows = [row for part in parts for row in self._lookup_part(keys[part], bound, timeout_s)]
        if len(rows) == 1:
            return rows[0]
        try:
            columns = pa.concat_batches([part.columns for part in rows])
        except pa.ArrowException as error:
            raise RequestTooLargeError(
                f"the columns of {len(keys)} rows of table {self.name!r} do not fit one batch ({error}): "
                "expected less than 2 GiB in a column; look up fewer keys at once",
                table=self.name,
            ) from None
        return FeatureRows(np.concatenate([part._meta for part in rows]), rows[-1]._producers, columns)

    def _lookup_part(self, keys: Keys, bound: AgeBound, timeout_s: float) -> list[FeatureRows]:
        """The rows of the keys, in halves where their lists are too much for one reply."""
        producers = self.bank._producers
        known = producers.known
        try:
            request = FeatureLookup(self.name, keys, bound, known, self.bank.producer)
            reply = self._send(request, timeout_s)
        except RequestTooLargeError:
            if len(keys) == 1:
                raise
            half = len(keys) // 2
            first = self._lookup_part(keys[:half], bound, timeout_s)
            return first + self._lookup_part(keys[half:], bound, timeout_s)
        batch = cast("FeatureBatch", reply)
        return [FeatureRows(batch.meta, producers.learn(known, batch.producers), batch.columns)]

    def _pages(self, limit: int, timeout_s: float | None) -> Iterator[tuple[Keys, FeatureRows]]:
        cursor = 0
        while cursor >= 0:
            try:
                keys, rows, cursor = self._read(timeout_s, partial(self._scan, cursor, limit))
            except RequestTooLargeError:
                if limit == 1:
                    raise
                limit //= 2
                continue
            if keys is not None:
                yield keys, rows

    def _scan(self, cursor: int, limit: int, timeout_s: float) -> tuple[Keys | None, FeatureRows, int]:
        producers = self.bank._producers
        known = producers.known
        page = cast("FeaturePage", self._send(FeatureScan(self.name, cursor, limit, known), timeout_s))
        batch = page.rows
        return (
            page.keys,
            FeatureRows(batch.meta, producers.learn(known, batch.producers), batch.columns),
            page.cursor,
        )

    def _held(self, spec: FeatureSpec, state: bool) -> Held:
        if state:
            raise InvalidRequestError(
                f"state=True: feature table {self.name!r} has no optimizer; ask for metadata=True",
                table=self.name,
            )
        return FeatureColumns(self.name, spec)

    def _walk(
        self,
        batch: int,
        state: bool,  # noqa: ARG002 - there is none
        timeout_s: float | None,
    ) -> Iterator[tuple[Keys, FeatureRows]]:
        return self._pages(min(batch, MAX_PAGE_ROWS), timeout_s)

    def _moves(self, moved: Moved, step: int) -> Any:
        keys, columns, meta, producers = moved
        parts = split_uneven(keys, row_nbytes(self.spec, columns) + ROW_META.itemsize)
        if meta is None:
            return [self._builder(keys[part], _rows(columns, part), check_step(step)) for part in parts]
        who = self.bank.producer
        return [
            partial(FeatureImport, self.name, keys[part], _rows(columns, part), meta[part], producers, who)
            for part in parts
        ]

    def _writes(self, keys: Any, columns: Mapping[str, Any], step: int) -> Any:
        batch, step = Keys.of(keys), check_step(step)
        table = check_batch(self.name, self.spec, as_batch(self.name, self.spec, columns), len(batch))
        if batch.nbytes + table.nbytes <= MAX_REQUEST_BYTES:
            return [self._builder(batch, table, step)]
        return [
            self._builder(batch[part], _rows(table, part), step)
            for part in split_uneven(batch, row_nbytes(self.spec, table))
        ]

    def _builder(self, keys: Keys, columns: pa.RecordBatch, step: int) -> Any:
        def build(write: WriteId) -> FeatureAssign:
            return FeatureAssign(self.name, keys, columns, step, self.bank.producer, write)

        return build


def _rows(columns: pa.RecordBatch, part: slice) -> pa.RecordBatch:
    return columns.slice(part.start, part.stop - part.start)
