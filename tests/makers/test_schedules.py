from __future__ import annotations

import numpy as np
import pytest

from carls.errors import InvalidSpecError
from carls.makers import AllKeys, MostRequested, Schedule, StalestFirst


class Due:
    def __init__(self, made, demand=None, step=100):
        self.step = step
        self.made = np.array(made)
        self.demand = np.zeros(len(made), np.int64) if demand is None else np.array(demand)

    def __len__(self):
        return len(self.made)


def test_all_keys_are_walked_in_their_order():
    assert AllKeys().choose(Due([3, -1, 5])).tolist() == [0, 1, 2]


def test_the_stalest_are_walked_first_and_no_more_than_asked():
    due = Due([30, -1, 10, 30, 10, -1])
    assert StalestFirst().choose(due).tolist() == [1, 5, 2, 4, 0, 3]
    assert StalestFirst(rows=3).choose(due).tolist() == [1, 5, 2]


def test_of_equally_old_rows_the_most_requested_come_first():
    due = Due([10] * 6, demand=[3, 0, 9, 3, 0, 20])
    assert MostRequested().choose(due).tolist() == [5, 2, 0, 3, 1, 4]
    assert MostRequested(rows=2).choose(due).tolist() == [5, 2]


def test_of_equally_requested_rows_the_stalest_come_first():
    due = Due([30, -1, 10, 30], demand=[7] * 4)
    assert MostRequested().choose(due).tolist() == StalestFirst().choose(due).tolist()


def rates(schedule, demand, steps=4000):
    """How often each key is made in a step, and how old its row is on average, in a course of many."""
    made, age, count = np.full(len(demand), -1), np.zeros(len(demand)), np.zeros(len(demand))
    for step in range(steps):
        chosen = schedule.choose(Due(made, demand, step))
        made[chosen] = step
        if step >= steps // 2:
            count[chosen] += 1
            age += step - made
    return count / (steps - steps // 2), age / (steps - steps // 2)


def test_keys_are_made_in_proportion_to_the_root_of_their_demand():
    demand = np.array([0, 0, 0, 3, 3, 8, 8, 24, 24, 99])
    rate, age = rates(MostRequested(rows=1), demand)
    np.testing.assert_allclose(rate, np.sqrt(1 + demand) / np.sqrt(1 + demand).sum(), rtol=0.15)
    assert rate.min() > 0, "no key is forgotten"
    as_read = (demand * age).sum() / demand.sum()
    for other in (StalestFirst(rows=1), AllOfOneKind(demand)):
        assert as_read < (demand * rates(other, demand)[1]).sum() / demand.sum()


class AllOfOneKind:
    """Makes keys in proportion to their demand itself: what one might have thought of."""

    def __init__(self, demand):
        self._turns = np.repeat(np.arange(len(demand)), np.maximum(demand, 1))
        np.random.default_rng(0).shuffle(self._turns)
        self._at = -1

    def choose(self, due):
        self._at += 1
        return self._turns[[self._at % len(self._turns)]]


@pytest.mark.parametrize("schedule", [StalestFirst(rows=3), MostRequested(rows=3)])
def test_every_key_has_its_turn_in_the_end(schedule):
    made = np.full(10, -1)
    for step in range(4):
        made[schedule.choose(Due(made, step=step))] = step
    assert made.min() >= 0


@pytest.mark.parametrize(
    "schedule", [AllKeys(), StalestFirst(rows=7), MostRequested(rows=9)], ids=lambda it: it.name
)
def test_a_schedule_is_given_by_object_name_or_json(schedule):
    assert Schedule.of(schedule) == schedule
    assert Schedule.of(schedule.to_json()) == schedule
    assert Schedule.of(schedule.name) == type(schedule)()


@pytest.mark.parametrize("value", ["sometimes", None, 3, {"name": "stalest", "colour": 1}])
def test_unknown_schedules_are_refused(value):
    with pytest.raises(InvalidSpecError, match="schedule"):
        Schedule.of(value)


@pytest.mark.parametrize("rows", [0, -1, 2.5, float("inf"), "many"])
@pytest.mark.parametrize("kind", [StalestFirst, MostRequested])
def test_numbers_of_rows_that_cannot_be_are_refused(kind, rows):
    with pytest.raises(InvalidSpecError, match="rows"):
        kind(rows=rows)
