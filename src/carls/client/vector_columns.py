"""Vectors as Arrow columns: values, and the optimizer's state."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from carls.bank.checks import check_records
from carls.client.results import Rows
from carls.client.tabular import Held
from carls.errors import InvalidValueError
from carls.messages import Floats
from carls.specs import EmbeddingSpec

_FLOATS = (pa.float32(), pa.float16())


class VectorColumns(Held):
    """What an embedding table holds: `value`, and with `state` the column of that name, unless the
    optimizer has none. As requests have it, the state stands behind the values."""

    def __init__(self, table: str, spec: EmbeddingSpec, state: bool) -> None:
        self._table, self._spec = table, spec
        self._sizes = {"value": spec.dim}
        if state and spec.slots:
            self._sizes["state"] = spec.state_floats
        self.fields = [pa.field(name, _vector(size), nullable=False) for name, size in self._sizes.items()]

    def arrays(self, rows: Rows) -> list[pa.Array]:
        arrays, start = [], 0
        for size in self._sizes.values():
            part = np.ascontiguousarray(rows.values[:, start : start + size], np.float32)
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), type=_vector(size)))
            start += size
        return arrays

    def check(self, schema: pa.Schema) -> None:
        for name, size in self._sizes.items():
            found = schema.field(name).type
            fixed = pa.types.is_fixed_size_list(found)
            listed = fixed or pa.types.is_list(found) or pa.types.is_large_list(found)
            if not listed or found.value_type not in _FLOATS or (fixed and found.list_size != size):
                raise self._wrong(name, f"has type {found}", size)

    def read(self, batch: pa.RecordBatch) -> Floats:
        parts = [self._matrix(name, batch.column(name), size) for name, size in self._sizes.items()]
        records = np.ascontiguousarray(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])
        return check_records(self._table, self._spec, records, len(records))

    def _matrix(self, name: str, column: pa.Array, size: int) -> Floats:
        if not pa.types.is_fixed_size_list(column.type):
            lengths = np.diff(column.offsets)
            if (lengths != size).any():
                row = int(np.flatnonzero(lengths != size)[0])
                raise self._wrong(name, f"has {lengths[row]} elements in row {row}", size)
        items = column.flatten()
        if items.null_count:
            raise self._wrong(name, "has nulls among its elements", size)
        numbers: Floats = items.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        return numbers.reshape(-1, size)

    def _wrong(self, name: str, found: str, size: int) -> InvalidValueError:
        return InvalidValueError(
            f"column {name!r} for table {self._table!r} {found}: expected {_vector(size)}; cast it first",
            table=self._table,
        )


def _vector(size: int) -> pa.DataType:
    return pa.list_(pa.field("item", pa.float32(), nullable=False), size)
