"""What a runner knows of its keys, and how often it asks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from carls.errors import InvalidKeyError
from carls.keys import Keys
from carls.makers.standing import DueKeys, KeySurvey

KEYS = Keys.of([10, 11, 12, 13])


class Table:
    """A table whose surveys take a second, by a clock that is set by hand."""

    def __init__(self, clock, steps, demand):
        self.clock, self.steps, self.demand, self.asked = clock, np.array(steps), np.array(demand), 0

    def survey(self, keys):
        assert keys == KEYS
        self.asked += 1
        self.clock.now += 1.0
        return SimpleNamespace(found=self.steps >= 0, step=self.steps, demand=self.demand)


class OfTexts:
    def survey(self, keys):
        raise InvalidKeyError("other keys")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_oldest_row_of_a_key_counts_and_all_that_ask_for_it():
    clock = Clock()
    tables = [Table(clock, [5, 7, -1, 9], [1, 0, 2, 0]), OfTexts(), Table(clock, [6, 3, 8, 9], [0, 0, 5, 1])]
    survey = KeySurvey(KEYS, lambda: tables, clock)
    assert survey.steps().tolist() == [5, 3, -1, 9]
    assert survey.demand().tolist() == [1, 0, 7, 1]


def test_surveys_take_a_tenth_of_the_time():
    clock = Clock()
    table = Table(clock, [1, 2, 3, 4], [0] * 4)
    survey = KeySurvey(KEYS, lambda: [table], clock)
    for _ in range(200):
        survey.steps(), survey.demand()
        clock.now += 0.5
    assert table.asked == 10
    assert clock.now == 110.0


def test_what_was_made_here_counts_with_what_the_bank_knows():
    clock = Clock()
    survey = KeySurvey(KEYS, lambda: [Table(clock, [5, 900, -1, 6], [1, 2, 3, 4])], clock)
    due = DueKeys(20, np.array([3, 0, 1]), np.array([7, -1, -1, -1]), survey)
    assert len(due) == 3
    assert due.made.tolist() == [6, 7, -1], "step 900 is of another course of training"
    assert due.demand.tolist() == [4, 1, 2]


def test_without_tables_only_what_was_made_here_is_known():
    survey = KeySurvey(KEYS, list)
    due = DueKeys(20, np.arange(4), np.array([7, -1, 3, -1]), survey)
    assert due.made.tolist() == [7, -1, 3, -1]
    assert due.demand.tolist() == [0] * 4
