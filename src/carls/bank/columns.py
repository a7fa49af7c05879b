"""Feature columns between Arrow and the core: types, checks, buffers without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from carls.errors import InvalidValueError
from carls.messages import Int64s
from carls.specs import FeatureSpec

_SCALARS = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}
_WIDTHS = {"int32": 4, "int64": 8, "float32": 4, "float64": 8, "bool": 1, "string": 1}

#: Bytes of one row's columns: with its key it fits a request, and each list a block of the core.
MAX_ROW_BYTES = 15 << 20

CoreArrays = tuple[Any, Any, Any]


def element_type(column_type: str) -> tuple[str, bool]:
    """The scalar type of a column, and whether the column holds lists of it."""
    if column_type.startswith("list<"):
        return column_type[5:-1], True
    return column_type, False


def arrow_type(column_type: str) -> pa.DataType:
    """The Arrow type of a column."""
    scalar, is_list = element_type(column_type)
    return pa.list_(pa.field("item", _SCALARS[scalar], nullable=False)) if is_list else _SCALARS[scalar]


def arrow_schema(spec: FeatureSpec) -> pa.Schema:
    """The schema of a batch of a feature table's columns."""
    return pa.schema([pa.field(name, arrow_type(kind), nullable=False) for name, kind in spec.columns])


def core_kinds(spec: FeatureSpec) -> list[tuple[str, int]]:
    """The columns as the core names them: kind and width in bytes."""
    kinds = []
    for _, column_type in spec.columns:
        scalar, is_list = element_type(column_type)
        if scalar == "string":
            kinds.append(("strings" if is_list else "list", 1))
        else:
            kinds.append(("list" if is_list else "fixed", _WIDTHS[scalar]))
    return kinds


def fixed_nbytes(spec: FeatureSpec) -> int:
    """Bytes of one row's columns without what its lists and texts hold."""
    return sum(width if kind == "fixed" else 4 for kind, width in core_kinds(spec))


def row_nbytes(spec: FeatureSpec, batch: pa.RecordBatch) -> Int64s:
    """(n,) int64: bytes of each row's columns, with all that its lists and texts hold."""
    sizes = np.full(batch.num_rows, fixed_nbytes(spec), np.int64)
    for name, column_type in spec.columns:
        scalar, is_list = element_type(column_type)
        if not is_list and scalar != "string":
            continue
        column = batch.column(name)
        ends = _offsets(column).astype(np.int64)
        if not is_list:
            sizes += np.diff(ends)
        elif scalar == "string":
            # Each text has an offset of its own beside its characters.
            sizes += np.diff(_offsets(column.values)[ends].astype(np.int64)) + 4 * np.diff(ends)
        else:
            sizes += np.diff(ends) * _WIDTHS[scalar]
    return sizes


def check_batch(table: str, spec: FeatureSpec, batch: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    """`batch` if it has the spec's columns, `rows` rows of at most `MAX_ROW_BYTES`, no nulls and
    only finite numbers."""
    expected = arrow_schema(spec)
    if not batch.schema.equals(expected):
        raise InvalidValueError(
            f"columns {_brief(batch.schema)} for table {table!r}: expected {_brief(expected)}", table=table
        )
    if batch.num_rows != rows:
        raise InvalidValueError(
            f"columns of {batch.num_rows} rows for {rows} keys of table {table!r}: expected one row a key",
            table=table,
        )
    for name, column_type in spec.columns:
        column = batch.column(name)
        scalar, is_list = element_type(column_type)
        items = column.flatten() if is_list else column
        if column.null_count or items.null_count:
            raise InvalidValueError(
                f"column {name!r} for table {table!r} holds nulls: expected a value everywhere", table=table
            )
        if scalar.startswith("float"):
            numbers = np.asarray(items)
            if not np.isfinite(numbers).all():
                at = int(np.flatnonzero(~np.isfinite(numbers))[0])
                raise InvalidValueError(
                    f"column {name!r} for table {table!r} holds {numbers[at]} at element {at}: "
                    "expected finite numbers; nothing was changed",
                    table=table,
                )
    if batch.nbytes > MAX_ROW_BYTES:
        sizes = row_nbytes(spec, batch)
        row = int(sizes.argmax())
        if sizes[row] > MAX_ROW_BYTES:
            raise InvalidValueError(
                f"row {row} of columns for table {table!r} has {sizes[row]} bytes: expected at most "
                f"{MAX_ROW_BYTES} in all columns of a row; spread long lists over several keys; "
                "nothing was changed",
                table=table,
            )
    return batch


def to_core(spec: FeatureSpec, batch: pa.RecordBatch) -> list[CoreArrays]:
    """The batch's buffers as the core takes them: (values, offsets, ends) for each column."""
    arrays: list[CoreArrays] = []
    for name, column_type in spec.columns:
        column = batch.column(name)
        scalar, is_list = element_type(column_type)
        offsets = _offsets(column) if is_list else None
        items = column.values if is_list else column
        if scalar != "string":
            arrays.append((_raw(np.asarray(items)), offsets, None))
        elif is_list:
            arrays.append((_characters(items), offsets, _offsets(items)))
        else:
            arrays.append((_characters(items), _offsets(items), None))
    return arrays


def from_core(spec: FeatureSpec, arrays: list[CoreArrays], rows: int) -> pa.RecordBatch:
    """A batch of the spec's columns over what the core gave for `rows` keys."""
    columns = []
    for (_, column_type), (values, offsets, ends) in zip(spec.columns, arrays, strict=True):
        scalar, is_list = element_type(column_type)
        if scalar == "string" and is_list:
            items = _strings(ends, values)
        elif scalar == "string":
            columns.append(_strings(offsets, values))
            continue
        elif scalar == "bool":
            items = pa.array(values.view(np.bool_))
        else:
            items = pa.Array.from_buffers(
                _SCALARS[scalar], len(values) // _WIDTHS[scalar], [None, pa.py_buffer(values)]
            )
        if is_list:
            buffers = [None, pa.py_buffer(offsets)]
            columns.append(pa.Array.from_buffers(arrow_type(column_type), rows, buffers, children=[items]))
        else:
            columns.append(items)
    return pa.RecordBatch.from_arrays(columns, schema=arrow_schema(spec))


def _brief(schema: pa.Schema) -> str:
    return "{" + ", ".join(f"{field.name}: {field.type}" for field in schema) + "}"


def _raw(numbers: Any) -> Any:
    return np.ascontiguousarray(numbers).view(np.uint8)


def _offsets(array: pa.Array) -> Any:
    raw = array.buffers()[1]
    if raw is None:
        return np.zeros(1, np.int32)
    return np.frombuffer(raw, np.int32)[array.offset : array.offset + len(array) + 1]


def _characters(array: pa.Array) -> Any:
    raw = array.buffers()[2]
    return np.empty(0, np.uint8) if raw is None else np.frombuffer(raw, np.uint8)


def _strings(offsets: Any, characters: Any) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(characters)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
