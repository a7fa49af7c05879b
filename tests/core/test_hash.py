"""Hashes of keys, against the reference implementation."""

from __future__ import annotations

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from carls import _core
from carls.keys import Keys


@given(st.binary(max_size=200))
def test_xxh64_of_short_keys(data: bytes) -> None:
    assert _core.xxh64(data) == xxhash.xxh64_intdigest(data)


def test_xxh64_of_long_keys() -> None:
    for length in (31, 32, 33, 63, 64, 65, 1000, 65536):
        data = bytes(i * 7 % 256 for i in range(length))
        assert _core.xxh64(data) == xxhash.xxh64_intdigest(data)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_hashes_of_a_batch_of_keys(keys: list[bytes]) -> None:
    batch = Keys.of(keys)
    hashes = _core.hash_bytes(batch.offsets, batch.data).view(np.uint64)
    assert hashes.tolist() == [xxhash.xxh64_intdigest(key) for key in keys]
