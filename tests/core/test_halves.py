"""Conversions between float32 and float16 against numpy's, and what a float16 row takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import carls
from carls import _core
from carls.specs import SGD, EmbeddingSpec, Uniform
from carls.testing import OracleTable

ALL = np.arange(65536, dtype=np.uint16).view(np.float16)


def blocks(numbers: Any, width: int) -> list[Any]:
    """The numbers in matrices of one row: the core converts eight at a time, and the rest one by one."""
    return [numbers[i : i + width][None] for i in range(0, len(numbers), width)]


def expected_halves(numbers: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return np.clip(numbers, -65504, 65504).astype(np.float16)


def assert_same(found: Any, expected: Any) -> None:
    """Equal bits, but for which NaN it is."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    bits = f"u{expected.itemsize}"
    np.testing.assert_array_equal(found.view(bits)[~nan], expected.view(bits)[~nan])


@pytest.mark.parametrize("width", [7, 4096])
def test_every_half_is_widened_exactly(width: int) -> None:
    found = np.concatenate([_core.to_floats(block) for block in blocks(ALL, width)], axis=1)
    assert_same(found[0], ALL.astype(np.float32))


@pytest.mark.parametrize("width", [7, 4096])
def test_floats_around_every_half_are_rounded_as_numpy_does(width: int) -> None:
    """Each half, the middle between it and the next, and the floats beside both."""
    finite = np.unique(ALL[np.isfinite(ALL)].astype(np.float32))
    points = np.concatenate(
        [finite, (finite[1:] + finite[:-1]) / 2, [65519.9, 65520, 1e30, np.inf, -np.inf, np.nan]]
    )
    points = points.astype(np.float32)
    points = np.concatenate(
        [points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, -np.float32(np.inf))]
    )
    found = np.concatenate([_core.to_halves(block) for block in blocks(points, width)], axis=1)
    assert_same(found[0], expected_halves(points))


@given(
    arrays.arrays(
        np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(width=32)
    )
)
def test_any_floats(numbers: Any) -> None:
    halves = _core.to_halves(numbers)
    assert_same(halves, expected_halves(numbers))
    assert_same(_core.to_floats(halves), halves.astype(np.float32))


@given(
    arrays.arrays(
        np.float16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(width=16)
    ),
    st.sampled_from([65504.0, 1e15, 3.4028235e38]),
)
def test_whether_halves_are_finite(numbers: Any, limit: float) -> None:
    assert _core.all_within(numbers, limit) == bool(np.isfinite(numbers).all())


KEYS = st.lists(st.integers(0, 4), min_size=1, max_size=6)
WRITES = st.lists(
    st.tuples(st.sampled_from(["assign", "push"]), KEYS, st.booleans(), st.integers(0, 99)), max_size=12
)


@given(WRITES, st.sampled_from([1, 3, 8, 11]), st.sampled_from([SGD(lr=0.1), SGD(lr=7.0, weight_decay=0.25)]))
def test_rows_equal_numpys_to_the_bit(writes: list[Any], dim: int, optimizer: SGD) -> None:
    spec = EmbeddingSpec(
        dim=dim, dtype="float16", keys="int64", optimizer=optimizer, initializer=Uniform(-9, 9)
    )
    oracle = OracleTable(spec, "me")
    with carls.connect(producer="me") as bank:
        table = bank.embeddings("t", dim, "float16", 0, "int64", optimizer, spec.initializer)
        for what, keys, half, seed in writes:
            numbers = np.random.default_rng(seed).normal(0, 3000, (len(keys), dim))
            matrix = numbers.astype(np.float16 if half else np.float32)
            if what == "assign":
                table.assign(keys, matrix)
                oracle.assign(keys, matrix, -1)
            else:
                table.push_gradients(keys, matrix)
                oracle.push(keys, matrix, -1)
        every = list(range(6))
        assert_same(table.lookup(every).values, oracle.lookup(every, True)[0])


def test_a_float16_row_takes_two_bytes_less_an_element() -> None:
    rows, dim = 200_000, 64
    with carls.connect() as bank:
        wide, half = (bank.embeddings(dtype, dim=dim, dtype=dtype) for dtype in ("float32", "float16"))
        for table in (wide, half):
            for start in range(0, rows, 20_000):
                table.lookup(np.arange(start, start + 20_000))
        saved = (wide.describe().nbytes - half.describe().nbytes) / rows
    assert saved == pytest.approx(2 * dim, rel=0.15)
