"""Columns: fields of messages as Arrow arrays over the same memory, and back.

The columns of rows (keys, vectors, metadata) cross to Arrow and back in the core, a batch at a
time: built one by one in Python they would cost as much as the network. Arrow arrays are built
over the numpy buffers, without a copy. Received numbers are copied once, since Flight delivers
them at odd addresses: the core and torch want them aligned, and users want arrays that they may
write to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import pyarrow as pa

from carls.errors import ProtocolError
from carls.keys import Keys, from_binary
from carls.messages import ROW_META, Bools, Floats, KeyLists, Meta, Vectors
from carls.specs.regularizer import Matrix


class Column(ABC):
    """One kind of column."""

    #: What the Arrow type must be, for error messages.
    expected: str

    @abstractmethod
    def accepts(self, arrow_type: pa.DataType) -> bool:
        """Whether an array of that type is such a column."""

    @abstractmethod
    def kind(self, value: Any) -> Hashable:
        """What the Arrow type of a column that holds `value` depends on."""

    @abstractmethod
    def arrow_type(self, kind: Any) -> pa.DataType:
        """The Arrow type of a column of that kind."""

    @abstractmethod
    def export(self, value: Any) -> Any:
        """`value` as the core's `export_columns` takes it: a contiguous array, a pair of offsets and
        data, or an Arrow array's capsule."""

    @abstractmethod
    def read(self, found: Any) -> Any:
        """The value in a received column: what the core has read from it, or the Arrow array, fully
        validated, of types that the core does not read.

        Raises:
            ProtocolError: it has nulls.
        """


class KeysColumn(Column):
    """Row keys: int64, or string or binary with 32-bit offsets."""

    expected = "int64, string or binary"
    _types = {"int64": pa.int64(), "string": pa.string(), "bytes": pa.binary()}  # noqa: RUF012
    _ids = frozenset(arrow_type.id for arrow_type in _types.values())

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return arrow_type.id in self._ids

    def kind(self, value: Keys) -> str:
        return value.type

    def arrow_type(self, kind: str) -> pa.DataType:
        return self._types[kind]

    def export(self, value: Keys) -> Any:
        return (value.offsets, value.data) if value.integers is None else value.integers

    def read(self, found: Any) -> Keys:
        if isinstance(found, tuple):
            key_type, offsets, data = found
            return Keys(key_type, offsets=offsets, data=data)
        return Keys("int64", integers=found)


class KeyListsColumn(Column):
    """A list of keys for each row; lists of int64 where all are empty."""

    expected = "list<int64, string or binary>"

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return bool(pa.types.is_list(arrow_type) and KeysColumn().accepts(arrow_type.value_type))

    def kind(self, value: KeyLists) -> str:
        return "int64" if value.keys is None else value.keys.type

    def arrow_type(self, kind: str) -> pa.DataType:
        return pa.list_(pa.field("item", KeysColumn().arrow_type(kind), nullable=False))

    def export(self, value: KeyLists) -> Any:
        keys = pa.array([], pa.int64()) if value.keys is None else value.keys.to_arrow()
        lists = pa.ListArray.from_arrays(value.ends, keys, type=self.arrow_type(self.kind(value)))
        return _capsule(lists)

    def read(self, found: pa.Array) -> KeyLists:
        _refuse_nulls(found, found.buffers()[0])
        ends = np.array(found.offsets, np.int32)
        items = _aligned(found.values.slice(ends[0], ends[-1] - ends[0]))
        _refuse_nulls(items, items.buffers()[0])
        if len(items) == 0:
            return KeyLists.none(len(found))
        if pa.types.is_int64(items.type):
            keys = Keys("int64", integers=items.to_numpy())
        else:
            keys = from_binary("string" if pa.types.is_string(items.type) else "bytes", items)
        return KeyLists(keys, ends - ends[0])


class FloatsColumn(Column):
    """(n, dim) float32 or float16: lists of a fixed size."""

    expected = "fixed_size_list<float or halffloat>[dim]"
    _types = {np.dtype(np.float32): pa.float32(), np.dtype(np.float16): pa.float16()}  # noqa: RUF012

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return bool(
            pa.types.is_fixed_size_list(arrow_type)
            and arrow_type.value_type in self._types.values()
            and arrow_type.list_size > 0
        )

    def kind(self, value: Vectors) -> tuple[int, Hashable]:
        return int(value.shape[1]), value.dtype

    def arrow_type(self, kind: tuple[int, Any]) -> pa.DataType:
        dim, dtype = kind
        return pa.list_(pa.field("item", self._types[dtype], nullable=False), dim)

    def export(self, value: Vectors) -> Vectors:
        return cast("Vectors", np.ascontiguousarray(value))

    def read(self, found: Any) -> Vectors:
        return cast("Vectors", found if found.dtype == np.float32 else found.view(np.float16))


class FixedColumn(Column):
    """A column whose Arrow type does not depend on its value."""

    type: pa.DataType

    @property
    def expected(self) -> str:  # type: ignore[override]
        return str(self.type)

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return bool(arrow_type == self.type)

    def kind(self, value: Any) -> None:
        pass

    def arrow_type(self, kind: None) -> pa.DataType:  # noqa: ARG002
        return self.type


class MetaColumn(FixedColumn):
    """(n,) ROW_META: 32 bytes a row."""

    type = pa.binary(ROW_META.itemsize)

    def export(self, value: Meta) -> Meta:
        return np.ascontiguousarray(value, dtype=ROW_META)

    def read(self, found: Any) -> Meta:
        # Not found.view(), whose check of records runs in Python.
        return cast("Meta", np.frombuffer(found, ROW_META))


class IntegersColumn(FixedColumn):
    """(n,) int64."""

    type = pa.int64()

    def export(self, value: Any) -> Any:
        return np.ascontiguousarray(value, np.int64)

    def read(self, found: Any) -> Any:
        return found


class BitsColumn(FixedColumn):
    """(n,) bool, as bits."""

    type = pa.bool_()

    def export(self, value: Bools) -> Any:
        return _capsule(pa.array(value, type=self.type))

    def read(self, found: pa.Array) -> Bools:
        _refuse_nulls(found, found.buffers()[0])
        return cast("Bools", found.to_numpy(zero_copy_only=False))


class NumbersColumn(FixedColumn):
    """(n,) float32."""

    type = pa.float32()

    def export(self, value: Floats) -> Any:
        return _capsule(pa.array(value, type=self.type))

    def read(self, found: pa.Array) -> Floats:
        _refuse_nulls(found, found.buffers()[0])
        return cast("Floats", np.array(found.to_numpy(zero_copy_only=False)))


class DoublesColumn(FixedColumn):
    """(n,) float64."""

    type = pa.float64()

    def export(self, value: Matrix) -> Any:
        return _capsule(pa.array(value, type=self.type))

    def read(self, found: pa.Array) -> Matrix:
        _refuse_nulls(found, found.buffers()[0])
        return np.array(found.to_numpy(zero_copy_only=False), np.float64)


class ModelsColumn(Column):
    """(dim, n) float64: a list of `dim` for each of n models."""

    expected = "fixed_size_list<double>[dim]"

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return bool(
            pa.types.is_fixed_size_list(arrow_type)
            and arrow_type.value_type == pa.float64()
            and arrow_type.list_size > 0
        )

    def kind(self, value: Matrix) -> int:
        return int(value.shape[0])

    def arrow_type(self, kind: int) -> pa.DataType:
        return pa.list_(pa.field("item", pa.float64(), nullable=False), kind)

    def export(self, value: Matrix) -> Any:
        items = pa.array(np.ascontiguousarray(value.T).reshape(-1), type=pa.float64())
        return _capsule(pa.FixedSizeListArray.from_arrays(items, type=self.arrow_type(self.kind(value))))

    def read(self, found: pa.Array) -> Matrix:
        _refuse_nulls(found, found.buffers()[0])
        items = found.flatten()
        _refuse_nulls(items, items.buffers()[0])
        rows = np.array(items.to_numpy(zero_copy_only=False), np.float64)
        models: Matrix = rows.reshape(len(found), found.type.list_size).T
        return models


class BytesColumn(FixedColumn):
    """One run of bytes, such as a part of a checkpoint: a row per byte."""

    type = pa.uint8()

    def export(self, value: bytes) -> Any:
        return _capsule(pa.Array.from_buffers(self.type, len(value), [None, pa.py_buffer(value)]))

    def read(self, found: pa.Array) -> bytes:
        validity, raw = found.buffers()
        _refuse_nulls(found, validity)
        return b"" if len(found) == 0 else cast("bytes", raw[: len(found)].to_pybytes())


class BatchColumn(Column):
    """The columns of a feature table, as one struct column."""

    expected = "struct of feature columns"
    _scalars = frozenset((pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string()))

    def accepts(self, arrow_type: pa.DataType) -> bool:
        if not pa.types.is_struct(arrow_type) or not arrow_type.num_fields:
            return False
        return all(self._is_feature(arrow_type.field(i).type) for i in range(arrow_type.num_fields))

    def _is_feature(self, arrow_type: pa.DataType) -> bool:
        return arrow_type in self._scalars or (
            pa.types.is_list(arrow_type) and arrow_type.value_type in self._scalars
        )

    def kind(self, value: pa.RecordBatch) -> pa.Schema:
        return value.schema

    def arrow_type(self, kind: pa.Schema) -> pa.DataType:
        return pa.struct(list(kind))

    def export(self, value: pa.RecordBatch) -> Any:
        return _capsule(value.to_struct_array())

    def read(self, found: pa.Array) -> pa.RecordBatch:
        for nested in (found, *found.flatten()):
            _refuse_nulls(nested, nested.buffers()[0])
            if pa.types.is_list(nested.type):
                _refuse_nulls(nested.values, nested.values.buffers()[0])
        return pa.RecordBatch.from_struct_array(_aligned(found))


def _capsule(array: pa.Array) -> Any:
    return array.__arrow_c_array__()[1]


def _refuse_nulls(array: pa.Array, validity: pa.Buffer | None) -> None:
    if validity is not None and array.null_count:
        raise ProtocolError(f"a column of {array.type} has {array.null_count} nulls: expected none")


def _aligned(array: pa.Array) -> pa.Array:
    if all(buffer is None or buffer.address % 8 == 0 for buffer in array.buffers()):
        return array
    return array.copy_to(pa.default_cpu_memory_manager())
