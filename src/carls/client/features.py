"""Feature tables, as their users see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa

from carls.bank.checks import check_step
from carls.bank.columns import arrow_schema, check_batch, fixed_nbytes, row_nbytes
from carls.bank.tables import MAX_PAGE_ROWS
from carls.client.arguments import age_bound, integer
from carls.client.handle import TableHandle
from carls.client.results import FeatureRows, Ragged
from carls.client.split import split, split_uneven
from carls.errors import InvalidValueError, RequestTooLargeError
from carls.keys import Keys
from carls.messages import (
    ROW_META,
    AgeBound,
    FeatureAssign,
    FeatureBatch,
    FeatureLookup,
    FeaturePage,
    FeatureScan,
    Reply,
    WriteId,
)
from carls.specs import FeatureSpec
from carls.wire.limits import MAX_REQUEST_BYTES


class FeatureTable(TableHandle[FeatureSpec]):
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

    def _writes(self, keys: Any, columns: Mapping[str, Any], step: int) -> Any:
        batch, step = Keys.of(keys), check_step(step)
        table = check_batch(self.name, self.spec, self._batch(columns), len(batch))
        if batch.nbytes + table.nbytes <= MAX_REQUEST_BYTES:
            return [self._builder(batch, table, step)]
        return [
            self._builder(batch[part], table.slice(part.start, part.stop - part.start), step)
            for part in split_uneven(batch, row_nbytes(self.spec, table))
        ]

    def _builder(self, keys: Keys, columns: pa.RecordBatch, step: int) -> Any:
        def build(write: WriteId) -> FeatureAssign:
            return FeatureAssign(self.name, keys, columns, step, self.bank.producer, write)

        return build

    def _batch(self, columns: Mapping[str, Any]) -> pa.RecordBatch:
        schema = arrow_schema(self.spec)
        if not isinstance(columns, Mapping) or set(columns) != set(schema.names):
            given = list(columns) if isinstance(columns, Mapping) else columns
            raise InvalidValueError(
                f"columns {given!r:.200} for table {self.name!r}: expected a mapping with all of "
                f"{sorted(schema.names)}",
                table=self.name,
            )
        arrays = []
        for field in schema:
            try:
                arrays.append(_column(columns[field.name], field.type))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise InvalidValueError(
                    f"column {field.name!r} for table {self.name!r}: expected {field.type} ({error})",
                    table=self.name,
                ) from None
        lengths = {name: len(array) for name, array in zip(schema.names, arrays, strict=True)}
        if len(set(lengths.values())) != 1:
            raise InvalidValueError(
                f"columns of lengths {lengths} for table {self.name!r}: expected one length", table=self.name
            )
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(values: Any, wanted: pa.DataType) -> pa.Array:
    if not isinstance(values, Ragged):
        return _converted(values, wanted)
    if not pa.types.is_list(wanted):
        raise TypeError("got lists")
    items = _converted(values.values, wanted.value_type)
    offsets = np.asarray(values.offsets)
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        raise TypeError(
            f"got offsets of shape {offsets.shape} and dtype {offsets.dtype}, not (n + 1,) integers"
        )
    bounds = offsets.astype(np.int64)
    if bounds[0] < 0 or (np.diff(bounds) < 0).any() or bounds[-1] > len(items):
        raise ValueError(f"got offsets that do not ascend within the {len(items)} values")
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), items, type=wanted)


def _converted(values: Any, wanted: pa.DataType) -> pa.Array:
    if isinstance(values, str | bytes | Mapping | Set):
        raise TypeError(f"got a {type(values).__name__}, not a value for each row")
    if isinstance(values, Keys):
        values = values.to_arrow()
    # Not pa.array(values, type=...): that would cut 1.5 down to 1 without a word.
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if not _converts(array.type, wanted):
        raise TypeError(f"got {array.type}")
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.cast(wanted)


def _converts(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast keeps what the values are; whether it keeps each value, Arrow checks."""
    types = pa.types
    if types.is_null(given):
        return True
    if types.is_dictionary(given):
        return _converts(given.value_type, wanted)
    if types.is_list(wanted):
        listed = types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given)
        return listed and _converts(given.value_type, wanted.value_type)
    if types.is_boolean(wanted):
        return bool(types.is_boolean(given))
    if types.is_string(wanted):
        return bool(types.is_string(given) or types.is_large_string(given))
    return bool(types.is_integer(given) or types.is_floating(given))
