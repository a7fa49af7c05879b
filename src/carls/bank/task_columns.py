"""V of coupled tasks, its proximal map, and what was said of each column last."""

from __future__ import annotations

import numpy as np

from carls.bank.gap import Gap, duality_gap
from carls.bank.task_members import Read
from carls.bank.task_pulls import LARGEST, Evidence, Pull
from carls.specs.algorithms import Algorithm
from carls.specs.regularizer import Matrix, Regularizer

#: The points' norm counts as at least this share of the ridge solutions' when mu is set from it.
LEAST_POINTS = 0.01
#: And the gradients' at least this share of the largest so far: where the optimum costs nothing no gradient
#: is left there, and mu would fall to nothing with them before the models are found.
LEAST_GRADIENTS = 1e-6
#: Corrections are known up to this share of the points.
ROUNDING = 1e-12
#: Parts of the state.
_V, _STEP, _POINT, _GRADIENT, _CORRECTION = range(5)


class TaskColumns:
    """A column of V for each task. Not for several threads at once.

    Args:
        dim: elements of a column.
        regularizer: g.
        rho: its weight.

    Attributes:
        mu: V - W is a subgradient of rho * g at W, divided by it; 0 until it is set.
    """

    def __init__(self, dim: int, regularizer: Regularizer, rho: float) -> None:
        self.mu = 0.0
        self._regularizer, self._rho = regularizer, rho
        self._coupling = regularizer
        self._asked: tuple[list[str], Regularizer] = ([], regularizer.over([]))
        #: V, what moves it at the end of a synchronous round, and each task's last point, gradient
        #: and correction: (5, dim, tasks).
        self._state: Matrix = np.zeros((5, dim, 0))
        self._evidence: Matrix = np.zeros((0, 3))
        self._models: Matrix | None = None
        self._steepest = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes that the columns take."""
        models = 0 if self._models is None else self._models.nbytes
        return self._state.nbytes + self._evidence.nbytes + models

    def add(self) -> None:
        """A column of zeros behind the others; couple them then."""
        self._state = np.pad(self._state, ((0, 0), (0, 0), (0, 1)))
        self._evidence = np.pad(self._evidence, ((0, 1), (0, 0)))

    def remove(self, index: int) -> None:
        """Take a column out; couple the others then."""
        self._state = np.delete(self._state, index, axis=2)
        self._evidence = np.delete(self._evidence, index, axis=0)

    def coupling(self, tasks: list[str]) -> Regularizer:
        """What would couple columns of those tasks."""
        # With many relations between tasks this takes a while: what was asked last is kept.
        if tasks != self._asked[0]:
            self._asked = (tasks, self._regularizer.over(tasks))
        return self._asked[1]

    def couple(self, tasks: list[str]) -> Regularizer:
        """Couple the columns as those of `tasks`; returns what couples them."""
        self._coupling = self.coupling(tasks)
        self._models = None
        return self._coupling

    def models(self) -> Matrix:
        """W, the proximal map of V: (dim, tasks); not to be written to."""
        if self._models is None:
            step = self._rho / self.mu if self.mu else 0.0
            self._models = self._coupling.prox(self._state[_V], step)
        return self._models

    def read(self, index: int) -> tuple[Matrix, Matrix]:
        """Copies of a column of W, and of V."""
        return self.models()[:, index].copy(), self._state[_V, :, index].copy()

    def rescale(self, mu: float) -> None:
        """Change mu. W stays what it was: V - W is a subgradient of rho * g there, divided by mu."""
        if self.mu:
            models = self.models()
            self._state[_V] = models + (self._state[_V] - models) * (self.mu / mu)
        else:
            self._models = None
        self.mu = mu

    def put_back(self, index: int, last: Pull) -> None:
        """Set a column to what a pull of another matrix gave, for the mu of this one."""
        self._state[_V, :, index] = last.model + (last.column - last.model) * (last.mu / self.mu)
        self._models = None

    def record(
        self, index: int, read: Read, correction: Matrix, evidence: Evidence, *, implicit: bool
    ) -> None:
        """Keep what an answer to a pull says: the point, its gradient and the correction."""
        state = self._state[:, :, index]
        # What was pulled is known here, so the gradient need not travel.
        state[_GRADIENT] = read.mu * (read.model - read.column - correction)
        state[_POINT] = read.model + correction if implicit else read.model
        state[_CORRECTION] = correction * (read.mu / self.mu)  # as V - W when mu changes
        self._evidence[index] = evidence

    def move(self, index: int, relaxation: float) -> None:
        """Move a column of V by its correction."""
        self._state[_V, :, index] += relaxation * self._state[_CORRECTION, :, index]
        self._models = None

    def hold(self, index: int, relaxation: float) -> None:
        """As `move`, but at `release`."""
        self._state[_STEP, :, index] = relaxation * self._state[_CORRECTION, :, index]

    def release(self) -> None:
        """Move all columns by what is held."""
        self._state[_V] += self._state[_STEP]
        self._models = None

    def squares(self) -> float:
        """The sum of squared corrections."""
        return float(np.sum(self._state[_CORRECTION] ** 2))

    def rounding(self) -> float:
        """What rounding alone may make of `squares`."""
        return float(ROUNDING**2 * np.sum(self._state[_POINT] ** 2))

    def better_mu(self, algorithm: Algorithm, norm: float) -> float:
        """mu, or a better one for the points and gradients said last; `norm` of all ridge solutions."""
        points = max(float(np.linalg.norm(self._state[_POINT])), LEAST_POINTS * norm)
        gradients = float(np.linalg.norm(self._state[_GRADIENT]))
        self._steepest = max(self._steepest, gradients)
        better = algorithm.rescaled(self.mu, points, max(gradients, LEAST_GRADIENTS * self._steepest))
        return min(max(better, 1 / LARGEST), LARGEST)

    def gap(self, norm: float) -> Gap:
        """Of the points said last; `norm` of all ridge solutions."""
        points, gradients = self._state[_POINT], self._state[_GRADIENT]
        return duality_gap(self._coupling, self._rho, norm, points, gradients, self._evidence)
