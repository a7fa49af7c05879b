"""How many rounds synchronous gradient methods need under the nuclear norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from carls.bank.gap import duality_gap
from carls.mtl.coupled import Tasks
from carls.specs import Nuclear

#: Rounds until the models are near the optimum, and until that is certified; infinity: not in time.
Needed = tuple[float, float]


def rounds_of_proximal_gradient(
    tasks: Tasks, rho: float, near: Callable[[Any], bool], tolerance: float, most: int
) -> Needed:
    """Proximal gradient descent with step 1 / L."""
    return _rounds(tasks, rho, near, tolerance, most, lambda _: 0.0)


def rounds_of_fista(
    tasks: Tasks, rho: float, near: Callable[[Any], bool], tolerance: float, most: int
) -> Needed:
    """FISTA (Beck, Teboulle 2009) with step 1 / L."""
    momentum = [1.0]

    def push(_: int) -> float:
        last = momentum[0]
        momentum[0] = (1 + math.sqrt(1 + 4 * last**2)) / 2
        return (last - 1) / momentum[0]

    return _rounds(tasks, rho, near, tolerance, most, push)


def _rounds(
    tasks: Tasks,
    rho: float,
    near: Callable[[Any], bool],
    tolerance: float,
    most: int,
    extrapolation: Callable[[int], float],
) -> Needed:
    lipschitz = max(profile.lipschitz for profile in tasks.profiles)
    models = points = np.zeros(tasks.shape)
    reached = certified = np.inf
    bound = -np.inf
    for done in range(1, most + 1):
        gradients, evidence = tasks.evaluate(points)
        last, models = models, Nuclear().prox(points - gradients / lipschitz, rho / lipschitz)
        # Looks cost more than rounds: later ones are rarer.
        if done % max(1, done // 50) == 0:
            if np.isinf(reached) and near(models):
                reached = done
            bound = max(bound, duality_gap(Nuclear(), rho, 0.0, points, gradients, evidence).bound)
            objective = float(tasks.evaluate(models)[1][:, 0].sum()) + rho * Nuclear().value(models)
            if np.isinf(certified) and objective - bound <= tolerance * objective:
                certified = done
            if np.isfinite([reached, certified]).all():
                break
        points = models + extrapolation(done) * (models - last)
    return reached, certified
