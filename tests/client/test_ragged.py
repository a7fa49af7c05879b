"""Ragged: taking lists by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls

LISTS = [[1, 2, 3], [], [4], [5, 6]]


@settings(deadline=None)
@given(st.lists(st.integers(-4, 3), max_size=10))
def test_lists_are_taken_in_the_order_asked_for(rows):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in LISTS])])
    flat = [value for one in LISTS for value in one]
    for values in (np.array(flat), carls.Keys.of([str(value) for value in flat])):
        ragged = carls.Ragged(offsets, values)
        assert list(ragged.take(rows)) == [ragged[row] for row in rows]


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(IndexError):
        carls.Ragged(np.array([0, 1]), np.array([7])).take([1])
