"""From samples to a task: which form of local solve suits them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from carls.mtl.losses import LeastSquares, Loss
from carls.mtl.quadratic import QuadraticTask
from carls.mtl.samples import Samples
from carls.mtl.smooth import SmoothTask
from carls.mtl.task import Task

#: Least squares on dense samples of more rows and columns than this take conjugate gradient steps
#: in place of a factorisation.
FACTORISED = 1000


def make_task(
    features: Any,
    targets: npt.ArrayLike,
    loss: Any = "least_squares",
    *,
    weights: npt.ArrayLike | None = None,
    fit_intercept: bool = False,
) -> Task:
    """The task of fitting targets from features.

    Args:
        features: (n, dim), dense or scipy.sparse, finite.
        targets: (n,); NaN where missing; -1 and 1 for losses of classification.
        loss: a `Loss`, its name, or a function of (predictions, targets) that returns their
            (values, derivatives), convex and at least 0.
        weights: of the samples, (n,), at least 0; all 1 by default.
        fit_intercept: whether a number that is not penalised is added to predictions.

    Raises:
        InvalidValueError: samples that cannot be.
        InvalidSpecError: no such loss.
    """
    samples = Samples.of(features, targets, weights)
    kind = Loss.of(loss)
    if isinstance(kind, LeastSquares) and not samples.sparse and min(samples.features.shape) <= FACTORISED:
        return QuadraticTask(samples, intercept=fit_intercept)
    return SmoothTask(samples, kind, intercept=fit_intercept)
