"""Rankings: the rows of a table by how often they were looked up, kept for the next draws."""

from __future__ import annotations

import threading

from carls import _core
from carls.specs import Frequency, Strategy, UniformSampling

#: A ranking is made anew when more than this share of the rows were made, removed or restored since, or of
#: all look-ups came since; tables of so few rows have it anew for any change.
STALE_SHARE = 0.01
EXACT_ROWS = 1024

#: Strategies whose weights a ranking keeps.
_MAX_KEPT = 4


class Ranking:
    """A table's rows at one time, and what they weigh under the strategies that were asked for.

    Attributes:
        population: the rows by rank.
    """

    def __init__(self, population: _core.Population) -> None:
        self.population = population
        self._weights: dict[Strategy, _core.Weights] = {}
        self._lock = threading.Lock()

    def weights(self, strategy: Strategy) -> _core.Weights:
        """What each rank weighs."""
        with self._lock:
            weights = self._weights.pop(strategy, None)
            if weights is None:
                alpha = strategy.alpha if isinstance(strategy, Frequency) else 0.0
                weights = self.population.weights(strategy.name, alpha)
            self._weights[strategy] = weights
            if len(self._weights) > _MAX_KEPT:
                del self._weights[next(iter(self._weights))]
            return weights

    @property
    def exact(self) -> bool:
        """Whether any change makes it stale."""
        return len(self.population) <= EXACT_ROWS

    def unchanged(self, rows: _core.EmbeddingTable) -> bool:
        """Whether no row came or went by a call since."""
        return rows.changes == self.population.changes

    def holds(self, rows: _core.EmbeddingTable, strategy: Strategy, now: int) -> bool:
        """Whether the rows have not changed too much until `now`, for draws by `strategy`."""
        population = self.population
        changes = rows.changes - population.changes
        # Where all rows weigh the same, their order does not matter.
        lookups = 0 if isinstance(strategy, UniformSampling) else rows.lookups - population.lookups
        if self.exact:
            return changes == 0 and lookups == 0 and not rows.expired(population.oldest, now)
        return changes <= STALE_SHARE * len(population) and lookups <= STALE_SHARE * population.total

    @property
    def nbytes(self) -> int:
        """Bytes of the ranks and the weights."""
        with self._lock:
            return self.population.nbytes + sum(weights.nbytes for weights in self._weights.values())


class Rankings:
    """The latest ranking of one table. Thread-safe.

    While it is made anew others may read and write the table, each part of which is held for a thousand rows
    at a time; other draws wait for it.
    """

    def __init__(self) -> None:
        self._latest: Ranking | None = None
        self._lock = threading.Lock()

    def current(self, rows: _core.EmbeddingTable, strategy: Strategy, now: int) -> Ranking:
        """One that holds for draws by `strategy`."""
        with self._lock:
            if self._latest is None or not self._latest.holds(rows, strategy, now):
                self._latest = Ranking(rows.population(now))
            return self._latest

    def after(self, ranking: Ranking, rows: _core.EmbeddingTable, now: int) -> Ranking:
        """One that was begun after `ranking`."""
        with self._lock:
            if self._latest is ranking or self._latest is None:
                self._latest = Ranking(rows.population(now))
            return self._latest

    @property
    def nbytes(self) -> int:
        """Bytes of the ranking that is kept."""
        latest = self._latest
        return 0 if latest is None else latest.nbytes
