"""The duality gap of coupled tasks, assembled from what their nodes said last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from carls.specs.regularizer import Matrix, Regularizer

#: Where some models cost a quadratic regularizer nothing, the gap is certified among models of at
#: most this many times the norm of all tasks' own ridge solutions.
RADIUS = 10.0


class Evidence(NamedTuple):
    """Scalars from which a bank bounds the optimum; all that a node tells about its data.

    With l the loss of a task, evaluated at x, and y its gradient there:

    Attributes:
        loss: l(x).
        square, linear: the conjugate l*(s * y) is at most square * s^2 + linear * s for 0 <= s <= 1.
    """

    loss: float
    square: float
    linear: float


@dataclass(frozen=True)
class Gap:
    """How far from the optimum some models are.

    Attributes:
        objective: sum of losses + rho * g at the models.
        bound: the optimum is not below it.
    """

    objective: float
    bound: float

    @property
    def relative(self) -> float:
        """(objective - bound) / |objective|, at least 0; infinity where only the objective is 0."""
        distance = max(self.objective - self.bound, 0.0)
        if distance == 0:
            return 0.0
        return distance / abs(self.objective) if self.objective else float("inf")


def duality_gap(
    regularizer: Regularizer, rho: float, norm: float, points: Matrix, gradients: Matrix, evidence: Matrix
) -> Gap:
    """The gap between models and the lower bound that their gradients give, by Fenchel duality.

    For each W: sum l_t(w_t) + rho g(W) >= - sum l_t*(s y_t) - max over W' of (<-s Y, W'> - rho g(W')).
    The points need not be of one pull: any columns give an objective, and any a bound.

    Args:
        regularizer: g, of these columns.
        rho: its weight.
        norm: of all tasks' own ridge solutions together.
        points: x_t, (dim, tasks).
        gradients: y_t of the losses there, (dim, tasks).
        evidence: `Evidence` of each task, (tasks, 3).
    """
    objective = float(evidence[:, 0].sum()) + rho * regularizer.value(points)
    scale, conjugate = regularizer.conjugate(gradients, rho, RADIUS * norm)
    square, linear = evidence[:, 1].sum(), evidence[:, 2].sum()
    return Gap(objective, -float(square * scale**2 + linear * scale) - conjugate)
