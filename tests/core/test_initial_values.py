"""Initial values are fixed for ever: by numpy's Philox, scipy's quantile, and golden vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xxhash
from scipy.special import ndtri

import carls
from carls import _core

GOLDEN_A_UNIFORM = [
    "-0x1.a7febe0000000p-1",
    "-0x1.529c600000000p-1",
    "-0x1.1601980000000p-5",
    "0x1.42761c0000000p-2",
]
GOLDEN_A_NORMAL = [
    "-0x1.5dbd880000000p+0",
    "-0x1.e9e63e0000000p-1",
    "-0x1.5c88c60000000p-5",
    "0x1.9f40460000000p-2",
]
GOLDEN_42_UNIFORM = [
    "-0x1.bf9fb00000000p-1",
    "0x1.d7b7a00000000p-1",
    "-0x1.0279fc0000000p-1",
    "-0x1.e282d20000000p-1",
]
GOLDEN_42_NORMAL = [
    "-0x1.87f8ca0000000p+0",
    "0x1.c227640000000p+0",
    "-0x1.5d3ed60000000p-1",
    "-0x1.e615520000000p+0",
]

KEYS: list[Any] = [0, 1, -1, 2**63 - 1, -(2**63), "", "a", "ä", "x" * 1000, b"\xff\x00"]


def units(seed: int, key: Any, n: int) -> np.ndarray:
    """n numbers in (0, 1) by numpy's generator and the reference's hash."""
    if isinstance(key, int):
        hashed = key % 2**64
    else:
        hashed = xxhash.xxh64_intdigest(key.encode() if isinstance(key, str) else key)
    raw = np.random.Philox(key=np.array([seed, hashed], np.uint64)).random_raw(n)
    return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53


def first_values(key: Any, seed: int, dim: int, initializer: carls.Initializer) -> np.ndarray:
    with carls.connect() as bank:
        return bank.embeddings("t", dim=dim, seed=seed, initializer=initializer).lookup([key]).values[0]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:20])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_uniform_is_numpys_philox(key: Any, seed: int) -> None:
    got = first_values(key, seed, 9, carls.Uniform(-2.0, 3.0))
    np.testing.assert_array_equal(got, (-2.0 + 5.0 * units(seed, key, 9)).astype(np.float32))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:20])
def test_normal_is_the_quantile_of_the_same_numbers(key: Any) -> None:
    got = first_values(key, 5, 33, carls.Normal(std=2.0, mean=1.0))
    np.testing.assert_allclose(got, 1.0 + 2.0 * ndtri(units(5, key, 33)), rtol=2e-7)


def test_normal_quantile_to_full_precision() -> None:
    p = np.concatenate(
        [np.linspace(1e-4, 1 - 1e-4, 5001), 10.0 ** -np.arange(5, 300, 7), 1 - 2.0 ** -np.arange(15, 53)]
    )
    got = np.array([_core.normal_quantile(float(x)) for x in p])
    np.testing.assert_allclose(got, ndtri(p), rtol=4e-15, atol=1e-15)


def test_normal_values_look_normal() -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=100, initializer=carls.Normal(0.05))
        values = table.lookup(np.arange(10_000)).values.ravel().astype(np.float64)
    assert abs(values.mean()) < 4 * 0.05 / 1000
    assert abs(values.std() / 0.05 - 1) < 0.004
    assert abs((np.abs(values) < 0.05).mean() - 0.6827) < 0.002


def test_golden_vectors() -> None:
    """The numbers printed in docs/initial-values.md, bit for bit."""
    golden = {
        ("a", 0, carls.Uniform(-1.0, 1.0)): GOLDEN_A_UNIFORM,
        ("a", 0, carls.Normal(1.0)): GOLDEN_A_NORMAL,
        (42, 7, carls.Uniform(-1.0, 1.0)): GOLDEN_42_UNIFORM,
        (42, 7, carls.Normal(1.0)): GOLDEN_42_NORMAL,
    }
    for (key, seed, initializer), expected in golden.items():
        got = first_values(key, seed, 4, initializer)
        assert [float(x).hex() for x in got] == expected, (key, seed, initializer)


def test_constants() -> None:
    assert first_values("a", 0, 3, carls.Zeros()).tolist() == [0.0] * 3
    assert first_values("a", 0, 3, carls.Constant(0.5)).tolist() == [0.5] * 3
