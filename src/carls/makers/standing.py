"""Standing: which checkpoint each key was made from last, and how much it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from carls.errors import InvalidKeyError
from carls.keys import Int64s, Keys
from carls.makers.outputs import Table

#: A survey takes at most one part in so many of the time.
_SURVEYED = 10


class DueKeys:
    """Keys that are due, for a schedule to choose from. The bank is asked when the schedule asks.

    Args:
        step: of the checkpoint at hand.
        indices: of the keys that are due, among all.
        made: (n,) step of the checkpoint that each of all keys was made from here; -1: none.
        survey: what the bank knows of them.
    """

    def __init__(self, step: int, indices: Int64s, made: Int64s, survey: KeySurvey) -> None:
        self.step = step
        self._indices = indices
        self._made = made
        self._survey = survey

    @property
    def made(self) -> Int64s:
        """(n,) as `Standing.made`. Rows of later steps are of another course of training, and count as
        none."""
        known = self._survey.steps()[self._indices]
        return np.maximum(np.where(known <= self.step, known, -1), self._made[self._indices])

    @property
    def demand(self) -> Int64s:
        """(n,) as `Standing.demand`."""
        return self._survey.demand()[self._indices]

    def __len__(self) -> int:
        return len(self._indices)


class KeySurvey:
    """What the bank knows of all keys, as of a little while ago: asked anew when ten times as long has passed
    as it took.

    Args:
        keys: n keys.
        tables: gives the tables that are written to, as far as they are known.
        clock: gives seconds.
    """

    def __init__(
        self, keys: Keys, tables: Callable[[], Iterable[Table]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._tables = tables
        self._clock = clock
        self._again = -np.inf
        self._steps = np.full(len(keys), -1, np.int64)
        self._demand = np.zeros(len(keys), np.int64)

    def steps(self) -> Int64s:
        """(n,) step of each key's row, of the oldest where there are several tables; -1: none."""
        self._refresh()
        return self._steps

    def demand(self) -> Int64s:
        """(n,) how often each key was looked up lately, in all tables."""
        self._refresh()
        return self._demand

    def _refresh(self) -> None:
        began = self._clock()
        if began < self._again:
            return
        surveys = []
        for table in self._tables():
            try:
                surveys.append(table.survey(self._keys))
            except InvalidKeyError:
                continue  # its rows have other keys than those that are walked
        if surveys:
            self._steps = np.min([np.where(it.found, it.step, -1) for it in surveys], axis=0)
            self._demand = np.sum([it.demand for it in surveys], axis=0)
            now = self._clock()
            self._again = now + _SURVEYED * (now - began)
