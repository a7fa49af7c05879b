"""How far coupled tasks are: epochs, guarded steps, the best bound of the optimum."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from carls.messages import Epoch, Gap
from carls.specs.algorithms import Algorithm

#: Epochs that the history keeps.
MAX_HISTORY = 10_000


class TaskProgress:
    """What is known of the way so far. Not for several threads at once.

    Attributes:
        updates: pushes applied.
        epochs: times that all tasks had pushed once more, since the tasks changed.
        guard: 1, or less where steps were halved.
        longest: pushes between a pull and its push, the most so far.
        history: the newest epochs.
        certified: the smallest gap that was found of these tasks; None before one was.
    """

    def __init__(self) -> None:
        self.updates = self.epochs = self.longest = 0
        self.guard = 1.0
        self.history: deque[Epoch] = deque(maxlen=MAX_HISTORY)
        self._best = float("inf")
        self._bound = -float("inf")
        self._gap: Gap | None = None
        self.certified: Gap | None = None

    def tasks_changed(self) -> None:
        """Begin anew: another problem has another optimum."""
        self.epochs = 0
        self.scale_changed()
        self.data_changed()

    def data_changed(self) -> None:
        """The old bound says nothing of data that may be others."""
        self._bound, self._gap, self.certified = -float("inf"), None, None

    def scale_changed(self) -> None:
        """Corrections for one mu are no measure for those of another."""
        self._best = float("inf")

    def applied(self, behind: int) -> None:
        """Count a push, so many pushes after its pull."""
        self.updates += 1
        self.longest = max(self.longest, behind)
        self._gap = None

    def ended(self, algorithm: Algorithm, squares: float) -> bool:
        """Count an epoch, and guard the steps; whether it is time to look at mu.

        Args:
            algorithm: says which epochs diverge.
            squares: sum of the squared corrections.
        """
        if algorithm.diverged(squares, self._best):
            self.guard /= 2
        self._best = min(self._best, squares)
        self.epochs += 1
        return self.epochs & (self.epochs - 1) == 0

    def gap(self, measured: Callable[[], Gap]) -> Gap:
        """The gap of now, with the best bound so far; `measured` only if something has changed."""
        if self._gap is None:
            found = measured()
            self._bound = max(self._bound, found.bound)
            self._gap = Gap(found.objective, self._bound)
            if self.certified is None or self._gap.relative < self.certified.relative:
                self.certified = self._gap
        return self._gap
