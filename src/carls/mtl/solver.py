"""Coupled tasks solved in this process, in rounds, to a certified gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from carls.bank.gap import Gap, duality_gap
from carls.bank.task_columns import LEAST_GRADIENTS, LEAST_POINTS, ROUNDING
from carls.bank.task_guard import TaskGuard
from carls.mtl.coupled import Tasks
from carls.specs.algorithms import Algorithm, Delays, ridge_norm
from carls.specs.regularizer import Matrix, Regularizer

#: Rounds between two looks at the gap, which costs about as much as a round.
LOOK = 5


@dataclass(frozen=True, eq=False)
class Solution:
    """Models and how good they are.

    Attributes:
        models: W, (dim, tasks); exactly of low rank or sparse where the regularizer makes it so.
        column: V, (dim, tasks), and
        mu: of the algorithm, to start a similar problem from.
        gap: of the models.
        rounds: in each of which every task was solved once.
    """

    models: Matrix
    column: Matrix
    mu: float
    gap: Gap
    rounds: int


def solve(
    tasks: Tasks,
    regularizer: Regularizer,
    rho: float,
    algorithm: Algorithm,
    *,
    tolerance: float,
    max_rounds: int,
    start: Solution | None = None,
) -> Solution:
    """Run the algorithm, all tasks in each round, until the relative gap is at most `tolerance`.

    Args:
        tasks: what is coupled.
        regularizer: g.
        rho: its weight, > 0.
        algorithm: its relaxation is that of no delay.
        tolerance: of the relative gap.
        max_rounds: after which it ends whatever the gap is; at least 1.
        start: of a problem with the same tasks and a similar rho.
    """
    dim, count = tasks.shape
    norm = ridge_norm(tasks.profiles)
    mu, column = algorithm.scale(regularizer, rho, dim, tasks.profiles), np.zeros((dim, count))
    if start is not None:
        mu, column = start.mu, start.column
    guard, bound, looks, steepest = TaskGuard(), -float("inf"), 0, 0.0
    for rounds in range(1, max_rounds + 1):
        models = regularizer.prox(column, rho / mu)
        points = tasks.proximal(2 * models - column, mu) if algorithm.implicit else models
        correction = points - models
        looking = rounds % LOOK == 0 or rounds == max_rounds
        if looking or not algorithm.implicit:
            gradients, evidence = tasks.evaluate(points)
            correction = models - column - gradients / mu
        if looking:
            bound = max(bound, duality_gap(regularizer, rho, norm, points, gradients, evidence).bound)
            losses = tasks.evaluate(models)[1][:, 0]
            gap = Gap(float(losses.sum()) + rho * regularizer.value(models), bound)
            if gap.relative <= tolerance or rounds == max_rounds:
                break
            guard.judge(algorithm, float(np.sum(correction**2)), ROUNDING**2 * float(np.sum(points**2)))
        column = column + algorithm.relaxation(count, Delays(0, 0.0), guard.factor) * correction
        if looking:
            looks += 1
            if looks & (looks - 1) == 0:
                size = max(float(np.linalg.norm(points)), LEAST_POINTS * norm)
                slope = float(np.linalg.norm(gradients))
                steepest = max(steepest, slope)
                better = algorithm.rescaled(mu, size, max(slope, LEAST_GRADIENTS * steepest))
                models = regularizer.prox(column, rho / mu)
                column = models + (column - models) * (mu / better)
                if better != mu:
                    guard.scale_changed()
                mu = better
    return Solution(models, column, mu, gap, rounds)
