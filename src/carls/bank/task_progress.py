"""How far coupled tasks are: epochs, delays, the best bound of the optimum."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from carls.messages import Epoch, Gap

#: Epochs that the history keeps.
MAX_HISTORY = 10_000
#: Epochs for which a long delay is remembered.
REMEMBERED = 100


class TaskProgress:
    """What is known of the way so far. Not for several threads at once.

    Attributes:
        updates: pushes applied.
        epochs: times that all tasks had pushed once more, since the tasks changed.
        history: the newest epochs.
        certified: the smallest gap that was found of these tasks; None before one was.
    """

    def __init__(self) -> None:
        self.updates = self.epochs = 0
        self.history: deque[Epoch] = deque(maxlen=MAX_HISTORY)
        self._longest: deque[int] = deque([0], maxlen=REMEMBERED)
        self._bound = -float("inf")
        self._gap: Gap | None = None
        self.certified: Gap | None = None

    @property
    def longest(self) -> int:
        """Pushes between a pull and its push, the most in the last hundred epochs."""
        return max(self._longest)

    def tasks_changed(self) -> None:
        """Begin anew: another problem has another optimum."""
        self.epochs = 0
        self.data_changed()

    def data_changed(self) -> None:
        """The old bound says nothing of data that may be others."""
        self._bound, self._gap, self.certified = -float("inf"), None, None

    def applied(self, behind: int) -> None:
        """Count a push, so many pushes after its pull."""
        self.updates += 1
        self._longest[-1] = max(self._longest[-1], behind)
        self._gap = None

    def ended(self) -> bool:
        """Count an epoch; whether it is time to look at mu."""
        self._longest.append(0)
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
