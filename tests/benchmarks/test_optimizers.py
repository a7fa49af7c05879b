"""What the pushes of the optimizers are held against."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from benchmarks.optimizers import STATE, row_nbytes
from benchmarks.scattered import Scattered


@pytest.mark.parametrize("name", STATE)
def test_a_row_has_the_bytes_that_the_yardstick_moves(name: str) -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=64, optimizer=name)
        table.lookup(np.arange(100_000))
        beyond = table.describe().nbytes / 100_000 - row_nbytes(name, 64)
    assert 0 < beyond < 48  # the index, and room in chunks that are not full


def test_the_yardstick_touches_every_float_of_the_picked_rows() -> None:
    scattered = Scattered(20 * 12)
    add = scattered.adder(12, [np.array([3, 19, 3]), np.array([0])])
    add(0)
    add(1)
    expected = np.ones((20, 3), np.float32)
    expected[[3, 19, 0]] += [[2], [1], [1]]
    np.testing.assert_array_equal(scattered._floats.reshape(20, 3), expected)
    with pytest.raises(ValueError, match="below 20"):
        scattered.adder(12, [np.array([20])])
