"""Losses of a task: what a prediction costs, with its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from carls.errors import InvalidSpecError, InvalidValueError

Vector = npt.NDArray[np.float64]


class Loss:
    """Base of the losses: the sum over a task's samples of a convex function of the prediction.

    Attributes:
        name: for arguments that take a name.
        mean: the sum is divided by the sum of the sample weights.
        curvature: the largest second derivative; infinity where nobody knows.
    """

    name: ClassVar[str]
    mean: bool = False
    curvature: float = float("inf")

    @staticmethod
    def of(value: Any) -> Loss:
        """The loss itself, the one of that name, or `Smooth` of a function.

        Raises:
            InvalidSpecError: something else.
        """
        if isinstance(value, Loss):
            return value
        if callable(value):
            return Smooth(value)
        if not isinstance(value, str) or value not in _CHOICES:
            raise InvalidSpecError(
                f"loss={value!r:.60}: expected one of {sorted(_CHOICES)}, a Loss, or a function of "
                "(predictions, targets) that returns (values, derivatives)"
            )
        return _CHOICES[value]()

    def check(self, targets: Vector) -> None:
        """Raise `InvalidValueError` unless the targets, (n,) and finite, can be targets of this loss."""

    def evaluate(self, predictions: Vector, targets: Vector) -> tuple[Vector, Vector, Vector | None]:
        """For each sample: value, first and second derivative with regard to the prediction.

        The second derivative is None where nobody knows it. Values are at least 0.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class LeastSquares(Loss):
    """The sum of 1/2 (prediction - target)^2."""

    name: ClassVar[str] = "least_squares"
    mean = False
    curvature = 1.0

    def evaluate(self, predictions: Vector, targets: Vector) -> tuple[Vector, Vector, Vector | None]:
        residuals = predictions - targets
        return residuals**2 / 2, residuals, np.ones_like(residuals)


class _Classification(Loss):
    mean = True

    def check(self, targets: Vector) -> None:
        wrong = targets[(targets != 1) & (targets != -1)]
        if wrong.size:
            raise InvalidValueError(
                f"loss {self.name!r}: target {wrong[0]}: expected -1 or 1 (NaN where it is missing)"
            )


@dataclass(frozen=True)
class Logistic(_Classification):
    """The mean of log(1 + exp(-target * prediction)), targets -1 and 1."""

    name: ClassVar[str] = "logistic"
    curvature = 0.25

    def evaluate(self, predictions: Vector, targets: Vector) -> tuple[Vector, Vector, Vector | None]:
        margins = targets * predictions
        wrong = np.asarray(np.exp(-np.logaddexp(0, margins)), np.float64)  # probability of the other class
        values = np.asarray(np.logaddexp(0, -margins), np.float64)
        return values, -targets * wrong, np.asarray(wrong * np.exp(-values), np.float64)


@dataclass(frozen=True)
class SquaredHinge(_Classification):
    """The mean of max(0, 1 - target * prediction)^2, targets -1 and 1."""

    name: ClassVar[str] = "squared_hinge"
    curvature = 2.0

    def evaluate(self, predictions: Vector, targets: Vector) -> tuple[Vector, Vector, Vector | None]:
        short = np.asarray(np.maximum(0, 1 - targets * predictions), np.float64)
        return short**2, -2 * targets * short, np.where(short > 0, 2.0, 0.0)


@dataclass(frozen=True)
class Smooth(Loss):
    """Any convex function with a derivative, its values at least 0.

    The duality gap is a certificate only if that is so: the gap takes 0 for a lower bound.

    Attributes:
        function: of (predictions (n,), targets (n,)); returns (values (n,), derivatives (n,)).
        mean: whether the mean over the task's samples is meant, in place of the sum.
        curvature: the largest second derivative; `forward_backward` needs it.
    """

    name: ClassVar[str] = "smooth"
    function: Callable[[Vector, Vector], tuple[npt.ArrayLike, npt.ArrayLike]]
    mean: bool = False
    curvature: float = float("inf")

    def evaluate(self, predictions: Vector, targets: Vector) -> tuple[Vector, Vector, Vector | None]:
        values, derivatives = (np.asarray(part, np.float64) for part in self.function(predictions, targets))
        for part, array in (("values", values), ("derivatives", derivatives)):
            if array.shape != predictions.shape or not np.isfinite(array).all():
                raise InvalidValueError(
                    f"loss {self.function!r:.80} returned {part} of shape {array.shape}: "
                    f"expected {predictions.shape}, all finite"
                )
        return values, derivatives, None


_CHOICES: dict[str, Callable[[], Loss]] = {
    LeastSquares.name: LeastSquares,
    Logistic.name: Logistic,
    SquaredHinge.name: SquaredHinge,
}
