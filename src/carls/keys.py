"""Keys: a batch of row keys, encoded once and used by every call that needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from carls import _core
from carls.errors import InvalidKeyError

#: Longest key in bytes.
MAX_KEY_BYTES = 65536

Int64s = npt.NDArray[np.int64]


class Keys:
    """An immutable batch of keys of one type.

    A string is its UTF-8 bytes; 5 and "5" never meet. Build one with `Keys.of` and pass it
    to several calls to encode the keys only once.

    Attributes:
        type: "int64", "string" or "bytes".
        integers: (n,) int64 for "int64" keys, else None.
        offsets: (n + 1,) int32 byte positions in `data` for the other types, else None.
        data: (m,) uint8, the keys' bytes one after another, else None.
    """

    __slots__ = ("data", "integers", "offsets", "type")

    type: str
    integers: Int64s | None
    offsets: npt.NDArray[np.int32] | None
    data: npt.NDArray[np.uint8] | None

    def __init__(
        self,
        type: str,
        *,
        integers: Int64s | None = None,
        offsets: npt.NDArray[np.int32] | None = None,
        data: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self.type = type
        self.integers = integers
        self.offsets = offsets
        self.data = data

    @staticmethod
    def of(keys: Any) -> Keys:
        """Encode `keys`: a list or tuple of int, of str or of bytes, a 1-d numpy array of
        integers or strings, a pyarrow array, or `Keys`, which are returned as they are.

        Raises:
            InvalidKeyError: empty, of mixed or other types, an integer beyond int64, a string
                that is not valid Unicode, a key over 64 KiB.
        """
        if isinstance(keys, Keys):
            return keys
        if isinstance(keys, np.ndarray):
            return _from_numpy(keys)
        if isinstance(keys, pa.Array | pa.ChunkedArray):
            return _from_arrow(keys)
        if isinstance(keys, str | bytes):
            raise InvalidKeyError(f"keys {keys!r:.80}: expected a list of keys; write [{keys!r:.40}]")
        if isinstance(keys, set | frozenset):
            raise InvalidKeyError("keys in a set have no order: expected a list, such as sorted(keys)")
        if not isinstance(keys, list | tuple):
            try:
                keys = list(keys)
            except TypeError:
                raise InvalidKeyError(
                    f"keys of type {type(keys).__name__}: expected a list of int, str or bytes, "
                    "a numpy array or a pyarrow array"
                ) from None
        if not keys:
            raise InvalidKeyError("empty batch of keys: expected at least one key")
        try:
            encoded = _core.encode_keys(keys)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidKeyError(str(error)) from None
        return Keys._encoded(*encoded)

    @staticmethod
    def _encoded(key_type: str, first: npt.NDArray[Any], data: npt.NDArray[np.uint8] | None) -> Keys:
        if data is None:
            return Keys(key_type, integers=first)
        return Keys(key_type, offsets=first, data=data)

    def __len__(self) -> int:
        if self.integers is not None:
            return len(self.integers)
        return len(cast("npt.NDArray[np.int32]", self.offsets)) - 1

    @overload
    def __getitem__(self, index: int) -> int | str | bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Keys: ...

    def __getitem__(self, index: int | slice) -> int | str | bytes | Keys:
        if isinstance(index, slice):
            return self._slice(index)
        if self.integers is not None:
            return int(self.integers[index])
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        assert self.offsets is not None
        assert self.data is not None
        raw = self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()
        return raw.decode() if self.type == "string" else raw

    def _slice(self, index: slice) -> Keys:
        start, stop, stride = index.indices(len(self))
        if stride != 1:
            return self.take(np.arange(start, stop, stride))
        if self.integers is not None:
            return Keys(self.type, integers=self.integers[start:stop])
        assert self.offsets is not None
        assert self.data is not None
        offsets = self.offsets[start : max(start, stop) + 1]
        return Keys(self.type, offsets=offsets - offsets[0], data=self.data[offsets[0] : offsets[-1]])

    def __iter__(self) -> Iterator[int | str | bytes]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Keys) or self.type != other.type or len(self) != len(other):
            return False
        if self.integers is not None:
            return np.array_equal(self.integers, cast("Int64s", other.integers))
        assert self.offsets is not None
        assert self.data is not None
        assert other.offsets is not None
        assert other.data is not None
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.data, other.data)

    def __hash__(self) -> int:
        return hash((self.type, len(self)))

    def __repr__(self) -> str:
        shown = ", ".join(repr(self[i]) for i in range(min(3, len(self))))
        return f"Keys({self.type}, n={len(self)}: {shown}{', ...' if len(self) > 3 else ''})"

    @property
    def nbytes(self) -> int:
        """Bytes that the encoded keys take."""
        if self.integers is not None:
            return self.integers.nbytes
        assert self.offsets is not None
        assert self.data is not None
        return self.offsets.nbytes + self.data.nbytes

    def tolist(self) -> list[Any]:
        """The keys as Python int, str or bytes."""
        if self.integers is not None:
            return cast("list[Any]", self.integers.tolist())
        return cast("list[Any]", self.to_arrow().to_pylist())

    def to_arrow(self) -> pa.Array:
        """The keys as an Arrow array of int64, string or binary, without a copy."""
        if self.integers is not None:
            return pa.array(self.integers)
        arrow_type = pa.string() if self.type == "string" else pa.binary()
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(arrow_type, len(self), buffers)

    def take(self, indices: npt.ArrayLike) -> Keys:
        """The keys at `indices` ((m,) integers), in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        if self.integers is not None:
            return Keys(self.type, integers=self.integers[chosen])
        return _from_arrow(self.to_arrow().take(pa.array(chosen)), allow_empty=True)

    def unique(self) -> tuple[Keys, Int64s]:
        """The distinct keys in order of first appearance, and (n,) int64 positions `inverse`
        such that `unique.take(inverse)` equals these keys."""
        if self.integers is not None:
            first, inverse = _core.unique_integers(self.integers)
        else:
            first, inverse = _core.unique_bytes(self.offsets, self.data)
        return (self if len(first) == len(self) else self.take(first)), inverse


def concat(batches: Sequence[Keys]) -> Keys:
    """One batch with the keys of all `batches` (at least one, all of one type)."""
    if len(batches) == 1:
        return batches[0]
    types = {batch.type for batch in batches}
    if len(types) != 1:
        raise InvalidKeyError(f"cannot join keys of types {sorted(types)}: expected one type")
    return _from_arrow(pa.concat_arrays([batch.to_arrow() for batch in batches]), allow_empty=True)


def _from_numpy(keys: npt.NDArray[Any]) -> Keys:
    if keys.ndim != 1:
        raise InvalidKeyError(f"keys of shape {keys.shape}: expected one dimension, such as keys.ravel()")
    if len(keys) == 0:
        raise InvalidKeyError("empty batch of keys: expected at least one key")
    if keys.dtype.kind == "u" and keys.dtype.itemsize == 8 and keys.max() > np.iinfo(np.int64).max:
        raise InvalidKeyError(f"key {keys.max()}: beyond int64; expected at most {np.iinfo(np.int64).max}")
    if keys.dtype.kind in "iu":
        # A copy: the caller may use the array again while a look-up in the background reads it.
        integers = np.array(keys, dtype=np.int64, order="C")
        integers.flags.writeable = False
        return Keys("int64", integers=integers)
    if keys.dtype.kind in "USO":
        return Keys.of(keys.tolist())
    raise InvalidKeyError(f"keys of dtype {keys.dtype}: expected integers, strings or bytes")


_ARROW_TYPES = {
    pa.string(): "string",
    pa.large_string(): "string",
    pa.binary(): "bytes",
    pa.large_binary(): "bytes",
}


def _from_arrow(keys: pa.Array, *, allow_empty: bool = False) -> Keys:
    if isinstance(keys, pa.ChunkedArray):
        keys = keys.combine_chunks()
    if keys.null_count:
        raise InvalidKeyError(f"keys with {keys.null_count} nulls: expected none")
    if len(keys) == 0 and not allow_empty:
        raise InvalidKeyError("empty batch of keys: expected at least one key")
    if pa.types.is_integer(keys.type):
        return _from_numpy(keys.to_numpy(zero_copy_only=False))
    key_type = _ARROW_TYPES.get(keys.type)
    if key_type is None:
        raise InvalidKeyError(f"keys of Arrow type {keys.type}: expected an integer, string or binary type")
    return from_binary(key_type, keys.cast(pa.string() if key_type == "string" else pa.binary()))


def from_binary(key_type: str, array: pa.Array) -> Keys:
    """Keys of `key_type` ("string" or "bytes") over the buffers of a string or binary array.

    The caller has validated the array; only the lengths of the keys are checked here.
    """
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    raw = array.buffers()[2]
    data = np.empty(0, np.uint8) if raw is None else np.frombuffer(raw, dtype=np.uint8)
    if offsets[0] != 0:
        data = data[offsets[0] :]
        offsets = offsets - offsets[0]
    data = data[: offsets[-1]]
    lengths = np.diff(offsets)
    if len(lengths) and lengths.max() > MAX_KEY_BYTES:
        raise InvalidKeyError(
            f"key {int(lengths.argmax())} has {lengths.max()} bytes: expected at most {MAX_KEY_BYTES}"
        )
    return Keys(key_type, offsets=offsets, data=data)
