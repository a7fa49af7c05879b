"""The duality gap of coupled tasks, assembled from what their nodes said last."""

from __future__ import annotations

from carls.messages import Evidence, Gap
from carls.specs.regularizer import Matrix, Regularizer

__all__ = ["RADIUS", "Evidence", "Gap", "duality_gap"]

#: Where some models cost a quadratic regularizer nothing, the gap is certified among models of at
#: most this many times the norm of all tasks' own ridge solutions.
RADIUS = 10.0


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
