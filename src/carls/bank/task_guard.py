"""TaskGuard: shortens the steps of coupled tasks while their corrections grow."""

from __future__ import annotations

from carls.specs.algorithms import Algorithm

#: Epochs without growth after which steps are lengthened again; twice as many after each time.
PATIENCE = 8
#: Steps are not shortened further than by this factor.
LEAST = 2.0**-20


class TaskGuard:
    """Halves steps where an epoch diverges, and doubles them again once epochs have gone well.

    A delay that made steps too long may be a single one. So shorter steps are left again, after 8 epochs,
    then 16, 32, ...: tried ever more seldom, so that steps that are too long for good cost ever less.

    Attributes:
        factor: of the steps: 1, or less where they were halved.
    """

    def __init__(self) -> None:
        self.factor = 1.0
        self._best = float("inf")
        self._well, self._patience = 0, PATIENCE

    def scale_changed(self) -> None:
        """Corrections for one mu are no measure for those of another."""
        self._best = float("inf")

    def judge(self, algorithm: Algorithm, squares: float, rounding: float) -> None:
        """Judge an epoch.

        Args:
            algorithm: says which epochs diverge.
            squares: sum of the squared corrections.
            rounding: what rounding alone may make of that; at an optimum nothing else is left.
        """
        if algorithm.diverged(squares, self._best):
            self.factor = max(self.factor / 2, LEAST)
            self._well = 0
        elif self.factor < 1:
            self._well += 1
            if self._well == self._patience:
                self.factor *= 2
                self._well, self._patience = 0, 2 * self._patience
        self._best = max(min(self._best, squares), rounding)
