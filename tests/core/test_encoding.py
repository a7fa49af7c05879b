"""Keys and columns that Python hands to the core: nothing forged or changing is ever read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls import Keys, _core


class Clearing:
    """A key that empties its own list while it is encoded."""

    def __init__(self, keys: list[Any]) -> None:
        self.keys = keys

    def __index__(self) -> int:
        self.keys.clear()
        return 7

    def __repr__(self) -> str:
        self.keys.clear()
        return "Clearing()"


@pytest.mark.parametrize("rest", [10**15, Clearing([])], ids=["int", "object"])
def test_a_key_that_clears_its_list(rest: Any) -> None:
    keys: list[Any] = []
    keys += [Clearing(keys)] + [rest] * 10**6  # so long that its memory goes back at once
    encoded = Keys.of(keys)
    assert len(encoded) == 10**6 + 1
    assert encoded[0] == 7


@pytest.mark.parametrize("first", ["a", b"a", 1.5])
def test_a_wrong_key_that_clears_its_list(first: Any) -> None:
    keys: list[Any] = [first]
    keys += [Clearing(keys) for _ in range(1000)]
    if first == 1.5:
        keys[0] = keys.pop()
        keys.insert(1, "text")
    with pytest.raises(carls.InvalidKeyError):
        Keys.of(keys)


FORGED = [[], [1, 2], [0, 2**30], [0, -5], [0, 3, 1], [0, 2**31 - 1, -(2**31), 0], [0, 65537]]


@pytest.mark.parametrize("offsets", FORGED, ids=str)
def test_forged_offsets(offsets: list[int]) -> None:
    forged = np.array(offsets, np.int32)
    data = np.zeros(65537 if offsets == [0, 65537] else 8, np.uint8)
    with pytest.raises(ValueError, match="ascending offsets"):
        _core.unique_bytes(forged, data)
    with pytest.raises(ValueError, match="ascending offsets"):
        _core.FeatureTable(False, [("fixed", 4)]).erase(None, forged, data, 1)


INTEGERS = np.array([1, 2], np.int64)


@pytest.mark.parametrize(
    "arrays",
    [
        (np.zeros(16, np.uint8)[::2], np.array([0, 1, 2], np.int32), None),
        (np.zeros(8, np.int64), np.array([0, 1, 2], np.int32), None),
        (np.zeros(8, np.uint8), np.array([0, 1, 2], np.int64), None),
        (np.zeros(8, np.uint8), [0, 1, 2], None),
        (np.zeros(8, np.uint8), np.array([0, 1, 3], np.int32), None),
        (np.zeros(8, np.uint8), np.array([0, 2, 1], np.int32), None),
        (np.zeros(8, np.uint8), np.array([0, 1], np.int32), None),
    ],
    ids=["strided", "wide values", "wide offsets", "list", "beyond", "descending", "short"],
)
def test_arrays_of_a_column_are_taken_as_they_are_or_not_at_all(arrays: Any) -> None:
    table = _core.FeatureTable(True, [("list", 4)])
    with pytest.raises(ValueError, match="expected"):
        table.assign(INTEGERS, None, None, [arrays], -1, 0, 0)
    assert len(table) == 0


def test_lists_beyond_four_gigabytes_of_values() -> None:
    first = 2**29  # element of 8 bytes, so at byte 2**32
    values = np.zeros(8 * (first + 4), np.uint8)  # pages that nobody touches take no memory
    values[-32:].view(np.int64)[:] = [5, 6, 7, 8]
    table = _core.FeatureTable(True, [("list", 8)])
    offsets = np.array([first, first + 1, first + 4], np.int32)
    table.assign(INTEGERS, None, None, [(values, offsets, None)], -1, 0, 0)
    meta = np.zeros(64, np.uint8)
    ((got, ends, _),) = table.lookup(INTEGERS, None, None, -(2**63), np.inf, 0, meta)
    assert ends is not None
    assert ends.tolist() == [0, 1, 4]
    assert got.view(np.int64).tolist() == [5, 6, 7, 8]
