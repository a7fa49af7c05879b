"""Many tasks in one process, evaluated and solved together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from carls.mtl.quadratic import QuadraticTask
from carls.mtl.task import Task
from carls.specs.algorithms import Profile
from carls.specs.regularizer import Matrix


class Tasks(Protocol):
    """Tasks as columns: points, gradients and solutions are (dim, tasks), evidence (tasks, 3)."""

    @property
    def profiles(self) -> Sequence[Profile]:
        """Of each task."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(dim, tasks)."""
        ...

    def evaluate(self, points: Matrix) -> tuple[Matrix, Matrix]:
        """Gradients and evidence at the points."""
        ...

    def proximal(self, centers: Matrix, mu: float) -> Matrix:
        """Each task's proximal map."""
        ...

    def intercepts(self, models: Matrix) -> Matrix:
        """The best intercept of each model: (tasks,)."""
        ...


def together(tasks: Sequence[Task]) -> Tasks:
    """The tasks, in the quickest form that there is for them."""
    quadratic = [task for task in tasks if isinstance(task, QuadraticTask)]
    return QuadraticTasks(quadratic) if len(quadratic) == len(tasks) else EachTask(tasks)


class EachTask:
    """Tasks of any kind, one after the other."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self.profiles: Sequence[Profile] = [task.profile() for task in tasks]
        self.shape = (tasks[0].dim, len(tasks))

    def evaluate(self, points: Matrix) -> tuple[Matrix, Matrix]:
        found = [task.evaluate(point) for task, point in zip(self._tasks, points.T, strict=True)]
        return np.stack([one.gradient for one in found], 1), np.array([one.evidence for one in found])

    def proximal(self, centers: Matrix, mu: float) -> Matrix:
        solved = [task.proximal(center, mu) for task, center in zip(self._tasks, centers.T, strict=True)]
        return np.stack(solved, 1)

    def intercepts(self, models: Matrix) -> Matrix:
        pairs = zip(self._tasks, models.T, strict=True)
        return np.array([task.evaluate(model).intercept for task, model in pairs])


class QuadraticTasks:
    """Least squares: their factors are stacked, so that a solve of all is one batched product."""

    def __init__(self, tasks: Sequence[QuadraticTask]) -> None:
        self._tasks = tasks
        self.profiles: Sequence[Profile] = [task.profile() for task in tasks]
        self.shape = (tasks[0].dim, len(tasks))
        rows = max(len(task.target) for task in tasks)
        self._factors = np.zeros((len(tasks), rows, tasks[0].dim))
        self._vectors = np.zeros_like(self._factors)
        self._targets = np.zeros((len(tasks), rows))
        self._squares, self._right = np.zeros_like(self._targets), np.zeros_like(self._targets)
        for index, task in enumerate(tasks):
            part = (index, slice(len(task.target)))
            self._factors[part], self._targets[part] = task.factor, task.target
            self._vectors[part], self._squares[part] = task.vectors, task.squares
            self._right[part] = task.right
        self._rest = np.array([task.rest for task in tasks])

    def evaluate(self, points: Matrix) -> tuple[Matrix, Matrix]:
        residuals = (self._factors @ points.T[:, :, None])[:, :, 0] - self._targets
        squares = np.sum(residuals**2, axis=1) / 2 + self._rest
        linear = np.sum(residuals * self._targets, axis=1) - 2 * self._rest
        gradients = (residuals[:, None, :] @ self._factors)[:, 0]
        return gradients.T, np.stack([squares, squares, linear], 1)

    def proximal(self, centers: Matrix, mu: float) -> Matrix:
        turned = (self._vectors @ centers.T[:, :, None])[:, :, 0]
        change = (self._right - self._squares * turned) / (self._squares + mu)
        found: Matrix = centers + (change[:, None, :] @ self._vectors)[:, 0].T
        return found

    def intercepts(self, models: Matrix) -> Matrix:
        pairs = zip(self._tasks, models.T, strict=True)
        return np.array([task.intercept(model) for task, model in pairs])
