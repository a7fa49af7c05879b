"""Sampling: candidates drawn from the rows of one embedding table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from carls import _core
from carls.bank.rankings import STALE_SHARE, Ranking, Rankings
from carls.errors import InvalidRequestError
from carls.keys import Keys, concat
from carls.messages import Bools, Floats, Int64s
from carls.specs import Strategy

_NO_RANKS = np.empty(0, np.int64)


class Wanted(NamedTuple):
    """What is to be drawn: for each context n keys, its positives first.

    `lengths` (contexts,) int64 says how many of `positives` each context has."""

    n: int
    strategy: Strategy
    positives: Keys | None
    lengths: Int64s
    exclude: Keys | None
    unique: bool
    seed: int
    counter: int
    hits: bool = False


class Drawn(NamedTuple):
    """Keys (contexts * n), and their `expected` counts, and whether they were `found`."""

    keys: Keys
    expected: Floats
    found: Bools
    values: Any


#: Whether n keys have rows, and what else their reader wants of them.
Read = Callable[[Keys], tuple[Bools, Any]]


class _StaleError(Exception):
    """The ranking is not true enough any more."""


class Sampler:
    """Draws candidates from one table's rows. Thread-safe.

    Ranks and weights are those of a ranking; whether the drawn rows are there still is seen when they are
    read. Those that are not are drawn anew, under a new ranking if they are many.

    Args:
        table: its name.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._rankings = Rankings()

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept between draws."""
        return self._rankings.nbytes

    def draw(self, rows: _core.EmbeddingTable, wanted: Wanted, now: int, key_type: str, read: Read) -> Drawn:
        """Candidates, whose rows `read` reads.

        Raises:
            InvalidRequestError: there are fewer rows than are to be drawn.
        """
        ranking = self._rankings.current(rows, wanted.strategy, now)
        try:
            return _Draw(self._table, ranking, wanted, key_type, read, not ranking.unchanged(rows)).run()
        except _StaleError:
            ranking = self._rankings.after(ranking, rows, now)
            return _Draw(self._table, ranking, wanted, key_type, read, False, last=True).run()


class _Draw:
    """One call's draws from one ranking.

    Args:
        stale: whether rows came or went since the ranking.
        last: whether there is no other ranking to try.
    """

    def __init__(
        self,
        table: str,
        ranking: Ranking,
        wanted: Wanted,
        key_type: str,
        read: Read,
        stale: bool,
        last: bool = False,
    ) -> None:
        self._table = table
        self._ranking = ranking
        self._weights = ranking.weights(wanted.strategy)
        self._wanted = wanted
        self._key_type = key_type
        self._read = read
        self._stale = stale
        self._last = last
        self._positives = _ranks(ranking.population, wanted.positives)
        self._starts = np.concatenate([[0], np.cumsum(wanted.lengths)])
        self._is_positive = np.arange(wanted.n) < wanted.lengths[:, None]

    def run(self) -> Drawn:
        """The candidates; rows that have gone are drawn anew.

        Raises:
            InvalidRequestError: too few rows.
            _StaleError: another ranking is needed.
        """
        excluded = _ranks(self._ranking.population, self._wanted.exclude)
        excluded = np.unique(excluded[excluded >= 0])
        ranks, expected = self._draw(np.arange(len(self._wanted.lengths)), excluded, 0)
        turn = 0
        while True:
            keys = self._keys(ranks)
            found, values = self._read(keys)
            gone = ~found.reshape(ranks.shape) & ~self._is_positive
            if not gone.any():
                return Drawn(keys, expected.ravel(), found, values)
            many = gone.sum() > STALE_SHARE * (~self._is_positive).sum()
            if not self._last and (many or self._ranking.exact):
                raise _StaleError
            turn += 1
            excluded = np.union1d(excluded, ranks[gone])
            contexts = np.flatnonzero(gone.any(axis=1))
            ranks[contexts], expected[contexts] = self._draw(contexts, excluded, turn)

    def _draw(self, contexts: Int64s, excluded: Int64s, turn: int) -> tuple[Int64s, Floats]:
        wanted = self._wanted
        lengths = wanted.lengths[contexts]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        positives = self._positives
        if len(contexts) < len(wanted.lengths):
            parts = [positives[self._starts[c] : self._starts[c + 1]] for c in contexts]
            positives = np.concatenate([_NO_RANKS, *parts])
        drawn = self._weights.draw(
            wanted.n,
            starts,
            positives,
            excluded,
            wanted.unique,
            wanted.seed,
            wanted.counter,
            turn,
            wanted.hits,
        )
        if len(drawn) == 2:
            return drawn
        if not self._last and (self._stale or turn > 0):
            raise _StaleError
        context, negatives, there = drawn
        unique = "unique " if wanted.unique else ""
        raise InvalidRequestError(
            f"context {contexts[context]} asks for {negatives} {unique}negatives: "
            f"table {self._table!r} has {there} rows for it, without its positives and what is excluded; ask "
            f"for fewer{', or with unique=False' if there and wanted.unique else ''}",
            table=self._table,
            details={"wanted": negatives, "there": there},
        )

    def _keys(self, ranks: Int64s) -> Keys:
        """The keys of all candidates, one context after the other."""
        drawn = ranks[~self._is_positive]
        first, data = self._ranking.population.keys(drawn)
        if data is None:
            negatives = Keys(self._key_type, integers=first)
        else:
            negatives = Keys(self._key_type, offsets=first, data=data)
        positives = self._wanted.positives
        if positives is None:
            return negatives
        if len(drawn) == 0:
            return positives
        places = np.empty(ranks.shape, np.int64)
        places[self._is_positive] = np.arange(len(positives))
        places[~self._is_positive] = np.arange(len(positives), ranks.size)
        return concat([positives, negatives]).take(places.ravel())


def _ranks(population: _core.Population, keys: Keys | None) -> npt.NDArray[np.int64]:
    return _NO_RANKS if keys is None else population.ranks(keys.integers, keys.offsets, keys.data)
