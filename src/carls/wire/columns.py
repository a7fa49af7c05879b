"""Columns: fields of messages as Arrow arrays over the same memory, and back.

Arrow arrays are built over the numpy buffers, without a copy. Received numbers are copied once,
since Flight delivers them at odd addresses: the core and torch want them aligned, and users
want arrays that they may write to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from carls.errors import ProtocolError
from carls.keys import MAX_KEY_BYTES, Keys, from_binary
from carls.messages import ROW_META, Bools, Floats, Meta


class Column(ABC):
    """One kind of column.

    Reading is for arrays that Arrow has validated; it refuses nulls.
    """

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
    def array(self, arrow_type: pa.DataType, value: Any) -> pa.Array:
        """`value` as an array of that type."""

    @abstractmethod
    def read(self, array: pa.Array) -> Any:
        """The value in a received array.

        Raises:
            ProtocolError: it has nulls.
        """


class KeysColumn(Column):
    """Row keys: int64, or string or binary with 32-bit offsets."""

    expected = "int64, string or binary"
    _types = {"int64": pa.int64(), "string": pa.string(), "bytes": pa.binary()}  # noqa: RUF012
    _names = {arrow_type.id: name for name, arrow_type in _types.items()}  # noqa: RUF012

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return arrow_type.id in self._names

    def kind(self, value: Keys) -> str:
        return value.type

    def arrow_type(self, kind: str) -> pa.DataType:
        return self._types[kind]

    def array(self, arrow_type: pa.DataType, value: Keys) -> pa.Array:
        if value.integers is not None:
            return pa.Array.from_buffers(arrow_type, len(value), [None, pa.py_buffer(value.integers)])
        buffers = [None, pa.py_buffer(value.offsets), pa.py_buffer(value.data)]
        return pa.Array.from_buffers(arrow_type, len(value), buffers)

    def read(self, array: pa.Array) -> Keys:
        key_type, count = self._names[array.type.id], len(array)
        validity, first, *data = array.buffers()
        _refuse_nulls(array, validity)
        if key_type == "int64":
            return Keys(key_type, integers=_numbers(first, np.dtype(np.int64), count))
        if count == 0:
            return Keys(key_type, offsets=np.zeros(1, np.int32), data=np.empty(0, np.uint8))
        offsets = _numbers(first, np.dtype(np.int32), count + 1)
        if offsets[0] == 0 and 0 < offsets[-1] <= MAX_KEY_BYTES:  # so that no key can be too long
            return Keys(key_type, offsets=offsets, data=np.frombuffer(data[0], np.uint8, int(offsets[-1])))
        keys = from_binary(key_type, array)
        offsets = np.array(keys.offsets)
        return Keys(key_type, offsets=offsets, data=keys.data)


class FloatsColumn(Column):
    """(n, dim) float32: lists of a fixed size."""

    expected = "fixed_size_list<float>[dim]"

    def accepts(self, arrow_type: pa.DataType) -> bool:
        return bool(
            pa.types.is_fixed_size_list(arrow_type)
            and arrow_type.value_type == pa.float32()
            and arrow_type.list_size > 0
        )

    def kind(self, value: Floats) -> int:
        return int(value.shape[1])

    def arrow_type(self, kind: int) -> pa.DataType:
        return pa.list_(pa.field("item", pa.float32(), nullable=False), kind)

    def array(self, arrow_type: pa.DataType, value: Floats) -> pa.Array:
        value = np.ascontiguousarray(value, dtype=np.float32)
        items = pa.Array.from_buffers(pa.float32(), value.size, [None, pa.py_buffer(value)])
        return pa.Array.from_buffers(arrow_type, len(value), [None], children=[items])

    def read(self, array: pa.Array) -> Floats:
        validity, item_validity, items = array.buffers()
        _refuse_nulls(array, validity)
        if item_validity is not None:
            _refuse_nulls(array.values, item_validity)
        count, dim = len(array), array.type.list_size
        return _numbers(items, np.dtype(np.float32), count * dim).reshape(count, dim)


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
    #: The bits that are 0 in the last 4 bytes of a row: three truths of one bit, one reserved byte.
    _NO_TRUTH = 0x00FEFEFE
    _WORD = np.dtype("<u4")

    def array(self, arrow_type: pa.DataType, value: Meta) -> pa.Array:
        value = np.ascontiguousarray(value, dtype=ROW_META)
        return pa.Array.from_buffers(arrow_type, len(value), [None, pa.py_buffer(value.view(np.uint8))])

    def read(self, array: pa.Array) -> Meta:
        validity, raw = array.buffers()
        _refuse_nulls(array, validity)
        count = len(array)
        if count and np.bitwise_or.reduce(np.frombuffer(raw, self._WORD, count * 8)[7::8]) & self._NO_TRUTH:
            raise ProtocolError("row metadata with a truth value above 1: expected 0 or 1")
        return cast("Meta", _numbers(raw, ROW_META, count))


class BitsColumn(FixedColumn):
    """(n,) bool, as bits."""

    type = pa.bool_()

    def array(self, arrow_type: pa.DataType, value: Bools) -> pa.Array:
        return pa.array(value, type=arrow_type)

    def read(self, array: pa.Array) -> Bools:
        _refuse_nulls(array, array.buffers()[0])
        return cast("Bools", array.to_numpy(zero_copy_only=False))


class BytesColumn(FixedColumn):
    """One run of bytes, such as a part of a checkpoint: a row per byte."""

    type = pa.uint8()

    def array(self, arrow_type: pa.DataType, value: bytes) -> pa.Array:
        return pa.Array.from_buffers(arrow_type, len(value), [None, pa.py_buffer(value)])

    def read(self, array: pa.Array) -> bytes:
        validity, raw = array.buffers()
        _refuse_nulls(array, validity)
        return b"" if len(array) == 0 else cast("bytes", raw[: len(array)].to_pybytes())


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

    def array(self, arrow_type: pa.DataType, value: pa.RecordBatch) -> pa.Array:  # noqa: ARG002
        return value.to_struct_array()

    def read(self, array: pa.Array) -> pa.RecordBatch:
        for nested in (array, *array.flatten()):
            _refuse_nulls(nested, nested.buffers()[0])
            if pa.types.is_list(nested.type):
                _refuse_nulls(nested.values, nested.values.buffers()[0])
        return pa.RecordBatch.from_struct_array(_aligned(array))


def _refuse_nulls(array: pa.Array, validity: pa.Buffer | None) -> None:
    if validity is not None and array.null_count:
        raise ProtocolError(f"a column of {array.type} has {array.null_count} nulls: expected none")


def _aligned(array: pa.Array) -> pa.Array:
    if all(buffer is None or buffer.address % 8 == 0 for buffer in array.buffers()):
        return array
    return array.copy_to(pa.default_cpu_memory_manager())


def _numbers(buffer: Any, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    # In memory of Arrow's pool: the C library's allocator gives arrays of this size back to the system
    # at each call when its heap happens to end there, and taking them anew costs 0.2 ms of page faults.
    # As plain bytes, since numpy copies records field by field.
    nbytes = count * dtype.itemsize
    copied = pa.allocate_buffer(nbytes)
    if nbytes:
        np.frombuffer(copied, np.uint8)[:] = np.frombuffer(buffer, np.uint8, nbytes)
    return np.frombuffer(copied, dtype)
