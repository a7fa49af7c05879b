"""Feature tables, as their users see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa

from carls.bank.columns import arrow_schema, check_batch
from carls.client.handle import TableHandle
from carls.client.results import FeatureRows, Ragged
from carls.client.split import split
from carls.errors import InvalidValueError
from carls.keys import Keys
from carls.messages import (
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
        and empty lists in their columns.
        """
        batch, bound = Keys.of(keys), AgeBound(at_step, max_age_steps, max_age_s)
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
        batch, bound = Keys.of(keys), AgeBound(at_step, max_age_steps, max_age_s)
        return self._read_async(timeout_s, lambda left: self._lookup(batch, bound, left))

    def assign(
        self, keys: Any, columns: Mapping[str, Any], step: int = -1, timeout_s: float | None = None
    ) -> None:
        """Set the rows of n keys.

        Args:
            keys: as for `lookup`. Where a key repeats, its last row stays.
            columns: every column of the table: n numbers or texts, or n lists (`Ragged` too).
                A row says who made it, so makers of different columns use different tables.
            step: the training step that the row comes from; -1: not said.
            timeout_s: deadline; default the bank's.

        Raises:
            InvalidValueError: missing or unknown columns, wrong types or lengths, nulls, NaN or
                infinity; nothing was changed.
            OutcomeUnknownError: no reply in time; `flush()` repeats the write safely.
        """
        for build in self._writes(keys, columns, step):
            self._write(build, timeout_s)

    def assign_async(
        self, keys: Any, columns: Mapping[str, Any], step: int = -1, timeout_s: float | None = None
    ) -> Future[Reply]:
        """As `assign`, in the background and in order."""
        return [self._write_async(build, timeout_s) for build in self._writes(keys, columns, step)][-1]

    def scan(self, batch: int = 4096, timeout_s: float | None = None) -> Iterator[tuple[Keys, FeatureRows]]:
        """Walk all rows, `batch` at a time, in no particular order.

        Rows present during the whole walk come exactly once.
        """
        cursor = 0
        while cursor >= 0:
            keys, rows, cursor = self._read(timeout_s, partial(self._scan, cursor, batch))
            if keys is not None:
                yield keys, rows

    def _lookup(self, keys: Keys, bound: AgeBound, timeout_s: float) -> FeatureRows:
        rows = []
        for part in split(keys, 64):
            producers = self.bank._producers
            known = producers.known
            batch = cast(
                "FeatureBatch", self._send(FeatureLookup(self.name, keys[part], bound, known), timeout_s)
            )
            rows.append(FeatureRows(batch.meta, producers.learn(known, batch.producers), batch.columns))
        if len(rows) == 1:
            return rows[0]
        columns = pa.Table.from_batches([part.columns for part in rows]).combine_chunks().to_batches()[0]
        return FeatureRows(np.concatenate([part._meta for part in rows]), rows[-1]._producers, columns)

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
        batch = Keys.of(keys)
        table = check_batch(self.name, self.spec, self._batch(columns), len(batch))
        row_nbytes = table.nbytes // max(len(batch), 1) + 1
        parts = split(batch, row_nbytes)
        if len(parts) == 1:
            return [self._builder(batch, table, step)]
        return [
            self._builder(batch[part], table.slice(part.start, part.stop - part.start), step)
            for part in parts
        ]

    def _builder(self, keys: Keys, columns: pa.RecordBatch, step: int) -> Any:
        def build(write: WriteId) -> FeatureAssign:
            return FeatureAssign(self.name, keys, columns, step, self.bank.producer, write)

        return build

    def _batch(self, columns: Mapping[str, Any]) -> pa.RecordBatch:
        schema = arrow_schema(self.spec)
        if set(columns) != set(schema.names):
            raise InvalidValueError(
                f"columns {sorted(columns)} for table {self.name!r}: expected all of {sorted(schema.names)}",
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


def _column(values: Any, arrow_type: pa.DataType) -> pa.Array:
    if isinstance(values, Ragged):
        items = values.values.to_arrow() if isinstance(values.values, Keys) else pa.array(values.values)
        offsets = pa.array(values.offsets, pa.int32())
        return pa.ListArray.from_arrays(offsets, items.cast(arrow_type.value_type), type=arrow_type)
    if isinstance(values, Keys):
        values = values.to_arrow()
    # Not pa.array(values, type=...): that would cut 1.5 down to 1 without a word.
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array.cast(arrow_type)
