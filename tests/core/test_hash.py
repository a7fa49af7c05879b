"""Hashes of keys, against the reference implementation."""

from __future__ import annotations

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from carls import _core


@given(st.binary(max_size=200))
def test_xxh64_of_short_keys(data: bytes) -> None:
    assert _core.xxh64(data) == xxhash.xxh64_intdigest(data)


def test_xxh64_of_long_keys() -> None:
    for length in (31, 32, 33, 63, 64, 65, 1000, 65536):
        data = bytes(i * 7 % 256 for i in range(length))
        assert _core.xxh64(data) == xxhash.xxh64_intdigest(data)
