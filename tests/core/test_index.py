"""The key index stays exact through growth, erase and re-insert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls import Keys

INTEGERS = {
    "dense": lambda ids: ids,
    "multiples": lambda ids: ids * 2**32,
    "negative": lambda ids: -ids * 7919,
}


def as_strings(ids: np.ndarray) -> list[str]:
    return [f"key/{i}" for i in ids.tolist()]


def play(to_keys: Any, operations: int, universe: int, batch: int, seed: int) -> None:
    """Random assigns, erases and look-ups against an array that holds what each key should have."""
    rng = np.random.default_rng(seed)
    expected = np.full(universe, -1.0, np.float32)  # -1: no row
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=1)
        done = 0
        while done < operations:
            # The share of writes swings, so that the table grows, shrinks and grows again.
            growing = (done * 8 // operations) % 2 == 0
            ids = rng.integers(0, universe, batch)
            kind = rng.random()
            if kind < (0.5 if growing else 0.2):
                values = rng.random((batch, 1), np.float32)
                table.assign(to_keys(ids), values)
                expected[ids] = values[:, 0]  # the last of equal keys stays, here and there
            elif kind < 0.7:
                unique = np.unique(ids)
                found = table.erase(to_keys(unique))
                np.testing.assert_array_equal(found, expected[unique] >= 0)
                expected[unique] = -1.0
            else:
                rows = table.lookup(to_keys(ids), create=False)
                np.testing.assert_array_equal(rows.found, expected[ids] >= 0)
                np.testing.assert_array_equal(rows.values[:, 0], np.maximum(expected[ids], 0))
            done += batch
        assert len(table) == int((expected >= 0).sum())
        everything = np.arange(universe)
        rows = table.lookup(to_keys(everything), create=False)
        np.testing.assert_array_equal(rows.found, expected >= 0)
        np.testing.assert_array_equal(rows.values[:, 0], np.maximum(expected, 0))


@pytest.mark.parametrize("shape", sorted(INTEGERS))
def test_integer_keys(shape: str) -> None:
    play(INTEGERS[shape], operations=400_000, universe=30_000, batch=1000, seed=1)


def test_string_keys() -> None:
    play(as_strings, operations=200_000, universe=20_000, batch=1000, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_million_operations() -> None:
    play(INTEGERS["multiples"], operations=10_000_000, universe=1_500_000, batch=8000, seed=3)
    play(as_strings, operations=2_000_000, universe=300_000, batch=8000, seed=4)


def test_keys_that_share_everything_but_their_end() -> None:
    keys = Keys.of(["x" * n for n in range(2000)] + ["x" * 1999 + c for c in "abc"])
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=1)
        values = np.arange(len(keys), dtype=np.float32)[:, None]
        table.assign(keys, values)
        np.testing.assert_array_equal(table.lookup(keys).values, values)
        assert table.erase(keys[::2]).all()
        np.testing.assert_array_equal(table.lookup(keys, create=False).found, np.arange(len(keys)) % 2 == 1)
        table.assign(keys, values + 1)
        np.testing.assert_array_equal(table.lookup(keys).values, values + 1)


def test_an_empty_batch_does_nothing() -> None:
    with carls.connect() as bank:
        bank.embeddings("t", dim=3, keys="int64")
        rows = bank._transport._engine._catalog.find("t")._rows
        none, values = np.empty(0, np.int64), np.empty((0, 3), np.float32)
        rows.assign(none, None, None, values, 0, 0, 0)
        assert len(rows.erase(none, None, None, 1)) == 0
        assert len(rows) == 0
