from __future__ import annotations

import numpy as np
import pytest

from carls.errors import InvalidSpecError
from carls.makers import AllKeys, Schedule, StalestFirst


def test_all_keys_are_walked_in_their_order():
    assert AllKeys().walk(np.array([3, -1, 5])).tolist() == [0, 1, 2]


def test_the_stalest_are_walked_first_and_no_more_than_asked():
    made = np.array([30, -1, 10, 30, 10, -1])
    assert StalestFirst().walk(made).tolist() == [1, 5, 2, 4, 0, 3]
    assert StalestFirst(rows=3).walk(made).tolist() == [1, 5, 2]


def test_stalest_first_gets_to_every_key_in_the_end():
    made = np.full(10, -1)
    for step in range(4):
        made[StalestFirst(rows=3).walk(made)] = step
    assert made.min() >= 0


def test_a_schedule_is_given_by_object_name_or_json():
    assert Schedule.of("all") == AllKeys()
    assert Schedule.of(StalestFirst(rows=7)) == StalestFirst(rows=7)
    assert Schedule.of(StalestFirst(rows=7).to_json()) == StalestFirst(rows=7)


@pytest.mark.parametrize("value", ["sometimes", None, 3, {"name": "stalest", "colour": 1}])
def test_unknown_schedules_are_refused(value):
    with pytest.raises(InvalidSpecError, match="schedule"):
        Schedule.of(value)


@pytest.mark.parametrize("rows", [0, -1, 2.5, float("inf"), "many"])
def test_numbers_of_rows_that_cannot_be_are_refused(rows):
    with pytest.raises(InvalidSpecError, match="rows"):
        StalestFirst(rows=rows)
