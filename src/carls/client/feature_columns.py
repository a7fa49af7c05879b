"""Columns of feature tables as users give them, and as Arrow record batches have them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import pyarrow as pa

from carls.bank.columns import arrow_schema, check_batch
from carls.client.results import FeatureRows, Ragged
from carls.client.tabular import Held
from carls.errors import InvalidValueError
from carls.keys import Keys
from carls.specs import FeatureSpec


class FeatureColumns(Held):
    """What a feature table holds: its own columns."""

    def __init__(self, table: str, spec: FeatureSpec) -> None:
        self._table, self._spec = table, spec
        self.fields = list(arrow_schema(spec))

    def arrays(self, rows: FeatureRows) -> list[pa.Array]:
        return list(rows.columns.columns)

    def check(self, schema: pa.Schema) -> None:
        for field in self.fields:
            if not _converts(schema.field(field.name).type, field.type):
                raise InvalidValueError(
                    f"column {field.name!r} of {schema.field(field.name).type} for table {self._table!r}: "
                    f"expected {field.type}",
                    table=self._table,
                )

    def read(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = {field.name: batch.column(field.name) for field in self.fields}
        converted = as_batch(self._table, self._spec, columns)
        return check_batch(self._table, self._spec, converted, batch.num_rows)


def as_batch(table: str, spec: FeatureSpec, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """The columns of a feature table as users give them: a mapping with all of them.

    Raises:
        InvalidValueError: missing or unknown columns, wrong types or lengths.
    """
    schema = arrow_schema(spec)
    if not isinstance(columns, Mapping) or set(columns) != set(schema.names):
        given = list(columns) if isinstance(columns, Mapping) else columns
        raise InvalidValueError(
            f"columns {given!r:.200} for table {table!r}: expected a mapping with all of "
            f"{sorted(schema.names)}",
            table=table,
        )
    arrays = []
    for field in schema:
        try:
            arrays.append(_column(columns[field.name], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InvalidValueError(
                f"column {field.name!r} for table {table!r}: expected {field.type} ({error})",
                table=table,
            ) from None
    lengths = {name: len(array) for name, array in zip(schema.names, arrays, strict=True)}
    if len(set(lengths.values())) != 1:
        raise InvalidValueError(
            f"columns of lengths {lengths} for table {table!r}: expected one length", table=table
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
        return bool(types.is_string(given) or types.is_large_string(given) or types.is_string_view(given))
    return bool(types.is_integer(given) or types.is_floating(given))
