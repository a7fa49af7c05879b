"""Columns cross between Arrow and the core without losing or inventing a byte."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls import _core


def read(array: pa.Array) -> Any:
    (found,) = _core.read_columns(*pa.RecordBatch.from_arrays([array], ["x"]).__arrow_c_array__())
    return found


def strings(raw: list[bytes]) -> pa.Array:
    """Strings of any bytes, which Arrow has not looked at."""
    array = pa.array(raw, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(array), array.buffers())


def is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


NEAR_TEXT = st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass"))


@settings(max_examples=500, deadline=None)
@given(st.lists(NEAR_TEXT | st.binary(max_size=6), min_size=1, max_size=4))
def test_strings_are_read_exactly_where_python_can_decode_them(raw: list[bytes]) -> None:
    if all(is_text(one) for one in raw):
        key_type, offsets, data = read(strings(raw))
        assert key_type == "string"
        assert [data[a:b].tobytes() for a, b in itertools.pairwise(offsets)] == raw
        return
    with pytest.raises(_core.ForgedColumn, match="not UTF-8"):
        read(strings(raw))


@pytest.mark.parametrize("cut", ["slice", "whole"])
def test_slices_are_read_from_their_first_element(cut: str) -> None:
    at = slice(2, 5) if cut == "slice" else slice(0, 9)
    numbers = np.arange(9)
    vectors = np.arange(27, dtype=np.float32).reshape(9, 3)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3)
    names = [f"name {i}" for i in range(9)]
    np.testing.assert_array_equal(read(pa.array(numbers)[at]), numbers[at])
    np.testing.assert_array_equal(read(listed[at]), vectors[at])
    _, offsets, data = read(pa.array(names)[at])
    assert offsets[0] == 0
    assert data.tobytes().decode() == "".join(names[at])


def test_what_is_read_is_aligned_and_one_s_own() -> None:
    raw = np.zeros(8 * 1000 + 1, np.uint8)
    odd = pa.Array.from_buffers(pa.int64(), 1000, [None, pa.py_buffer(raw[1:])])
    found = read(odd)
    found += 1
    assert found.ctypes.data % 64 == 0
    assert not raw.any()


def test_types_that_the_core_does_not_read_are_left_alone() -> None:
    assert read(pa.array([True, False])) is None
    assert read(pa.array([[1], [2]])) is None
    assert read(pa.array([1.5])) is None


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        _core.export_columns([np.arange(3), np.arange(4)])


def test_what_was_exported_lives_until_arrow_lets_go_of_it() -> None:
    schema = pa.schema([pa.field("x", pa.int64())])
    numbers = np.arange(1000)
    alive = weakref.ref(numbers)
    exported = _core.export_columns([numbers])
    batch = pa.RecordBatch._import_from_c(exported.address, schema)
    del numbers
    gc.collect()
    assert batch.column(0).to_pylist() == list(range(1000))
    assert alive() is not None
    del batch
    # Freed with the next batch, as whoever lets go may not hold the interpreter's lock.
    _core.export_columns([np.arange(2)])
    assert alive() is None


def test_a_batch_that_nobody_imports_is_freed() -> None:
    numbers = np.arange(1000)
    alive = weakref.ref(numbers)
    _core.export_columns([numbers])
    del numbers
    _core.export_columns([np.arange(2)])
    assert alive() is None
