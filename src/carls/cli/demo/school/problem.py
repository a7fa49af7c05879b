"""What the task nodes solve together: coupled schools, and how far models are from the optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from carls.cli.demo.school.pupils import Floats, Pupils
from carls.cli.demo.school.recipe import coupling
from carls.mtl import DouglasRachford, Regularizer, make_task
from carls.mtl.coupled import Tasks, together
from carls.mtl.solver import solve


@dataclass(frozen=True, eq=False)
class Problem:
    """Schools coupled by a regularizer.

    Attributes:
        train: the pupils that models are fitted to; each school's stay with its node.
        regularizer: that couples the schools.
        rho: its weight.
        optimum: the least objective.
        all: the schools' tasks in one place, to judge by.
    """

    train: Pupils
    regularizer: Regularizer
    rho: float
    optimum: float
    all: Tasks

    @staticmethod
    def of(train: Pupils, name: str, rho: float) -> Problem:
        """Solve it in one place first, to know the optimum."""
        tasks = together([make_task(*pair) for pair in zip(train.features, train.scores, strict=True)])
        regularizer = coupling(name)
        exact = solve(tasks, regularizer, rho, DouglasRachford(), tolerance=1e-8, max_rounds=5000)
        return Problem(train, regularizer, rho, exact.gap.objective, tasks)

    @property
    def dim(self) -> int:
        """Features of a pupil."""
        return int(self.all.shape[0])

    def distance(self, models: Floats) -> float:
        """(objective - optimum) / optimum of models, a column for each school."""
        losses = self.all.evaluate(models)[1][:, 0]
        objective = float(np.sum(losses)) + self.rho * self.regularizer.value(models)
        return (objective - self.optimum) / self.optimum
