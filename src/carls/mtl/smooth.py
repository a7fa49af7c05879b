"""Any loss on dense or sparse samples, solved by Newton's method or L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from carls.bank.gap import Evidence
from carls.errors import CarlsError
from carls.mtl.conjugate_gradients import conjugate_gradients
from carls.mtl.losses import LeastSquares, Loss, Vector
from carls.mtl.samples import Samples
from carls.mtl.task import Evaluation, Task
from carls.specs.algorithms import Profile

#: Dense tasks up to this dim have their Newton systems solved directly.
DIRECT = 512
#: A local solve ends when its gradient has fallen by this factor from its warm start: its error
#: shrinks with the change of its center, and so vanishes at the optimum.
REDUCTION = 1e-4
#: Conjugate gradient steps of a Newton step.
LEAST_STEPS, MOST_STEPS = 10, 250
_MOST_NEWTON = 50


@dataclass(frozen=True, eq=False)
class _Point:
    """The loss at a point; arrays over samples are weighted."""

    value: float
    gradient: Vector
    first: Vector
    second: Vector | None
    intercept: float


class SmoothTask(Task):
    """l(x) = min over the intercept b of  sum_i weight_i * loss(x' features_i + b, target_i),

    over the sum of weights if the loss is a mean. Local solves start from the last one's result.

    Args:
        samples: dense or sparse.
        loss: of a prediction.
        intercept: whether it has one.
    """

    def __init__(self, samples: Samples, loss: Loss, *, intercept: bool = False) -> None:
        loss.check(samples.targets)
        self.dim = samples.dim
        self._samples, self._loss, self._has_intercept = samples, loss, intercept
        total = float(samples.weights.sum())
        self._weights = samples.weights / total if loss.mean and total > 0 else samples.weights
        self._squares = samples.squares() * (1 / total if loss.mean and total > 0 else 1.0)
        self._intercept = 0.0
        self._warm: Vector | None = None
        self._last: tuple[Vector, _Point] | None = None
        _, derivatives, _ = loss.evaluate(np.zeros(len(samples.targets)), samples.targets)
        self._slope = float(self._weights @ np.abs(derivatives))

    def profile(self) -> Profile:
        curvature = self._loss.curvature if np.isfinite(self._loss.curvature) else 1.0
        ridge = 0.01 * curvature * float(self._squares.sum()) / self.dim
        if ridge == 0:
            return Profile(0.0, 0.0)
        solution = self.proximal(np.zeros(self.dim), ridge)
        self._warm = None
        return Profile(float(np.linalg.norm(solution)), self._loss.curvature * self._largest())

    def evaluate(self, point: Vector) -> Evaluation:
        found = self._at(point)
        square, linear = 0.0, float(found.gradient @ point) - found.value
        if isinstance(self._loss, LeastSquares):
            square, linear = found.value, float(found.first @ self._samples.targets)
        return Evaluation(found.gradient, Evidence(found.value, square, linear), found.intercept)

    def proximal(self, center: Vector, mu: float) -> Vector:
        start = center if self._warm is None else self._warm
        twice = self._at(start).second is not None
        self._warm = (self._newton if twice else self._lbfgs)(start, center, mu)
        return np.array(self._warm)

    def _at(self, point: Vector) -> _Point:
        # Solves end where the next evaluation, and the next solve, begin.
        if self._last is None or not np.array_equal(self._last[0], point):
            self._last = point.copy(), self._compute(point)
        return self._last[1]

    def _compute(self, point: Vector) -> _Point:
        scores = np.asarray(self._samples.features @ point, np.float64)
        if self._has_intercept and len(scores):
            self._intercept = self._best_intercept(scores)
        values, first, second = self._loss.evaluate(scores + self._intercept, self._samples.targets)
        first = self._weights * first
        return _Point(
            float(self._weights @ values),
            np.asarray(self._samples.features.T @ first, np.float64),
            first,
            None if second is None else self._weights * second,
            self._intercept,
        )

    def _best_intercept(self, scores: Vector) -> float:
        """Where the derivative with regard to the intercept is 0: Newton, safeguarded by bisection.

        Where all targets are of one class it is where that derivative has vanished.
        """
        low, high, best = -np.inf, np.inf, self._intercept
        for _ in range(200):
            _, first, second = self._loss.evaluate(scores + best, self._samples.targets)
            slope = float(self._weights @ first)
            if abs(slope) <= 1e-15 * self._slope:
                break
            low, high = (low, best) if slope > 0 else (best, high)
            curvature = 0.0 if second is None else float(self._weights @ second)
            reach = 2 * abs(best) + 1
            step = -slope / curvature if curvature > abs(slope) / reach else -np.sign(slope) * reach
            tried = best + step
            if not low < tried < high or (second is None and np.isfinite(high - low)):
                tried = (low + high) / 2
            if tried in (best, low, high):
                break
            best = float(tried)
        return best

    def _newton(self, point: Vector, center: Vector, mu: float) -> Vector:
        here = self._at(point)
        slope = here.gradient + mu * (point - center)
        enough = REDUCTION * float(np.linalg.norm(slope))
        for _ in range(_MOST_NEWTON):
            step = self._newton_step(here, slope, mu)
            value = here.value + mu / 2 * float(np.sum((point - center) ** 2))
            fall = float(slope @ step)
            length = 1.0
            while True:
                tried = point + length * step
                there = self._at(tried)
                reached = there.value + mu / 2 * float(np.sum((tried - center) ** 2))
                # What rounding hides must not hold a step back.
                if reached <= value + 1e-4 * length * fall + 1e-14 * abs(value) or length < 1e-10:
                    break
                length /= 2
            point, here = tried, there
            slope = here.gradient + mu * (point - center)
            if np.linalg.norm(slope) <= max(enough, 1e-15 * float(np.linalg.norm(here.gradient))):
                break
            if abs(fall) <= 1e-16 * abs(value):
                break
        return point

    def _newton_step(self, here: _Point, slope: Vector, mu: float) -> Vector:
        features, second = self._samples.features, here.second
        assert second is not None
        total = float(second.sum())
        # The best intercept moves with the point, which takes curvature away.
        shared = np.zeros(self.dim)
        if self._has_intercept and total > 0:
            shared = np.asarray(features.T @ second, np.float64) / np.sqrt(total)
        if self.dim <= DIRECT and not self._samples.sparse:
            hessian = (features * second[:, None]).T @ features - np.outer(shared, shared)
            hessian[np.diag_indices(self.dim)] += mu
            solved: Vector = np.linalg.solve(hessian, -slope)
            return solved

        def product(vector: Vector) -> Vector:
            image = np.asarray(features.T @ (second * (features @ vector)), np.float64)
            return image - shared * float(shared @ vector) + mu * vector

        return conjugate_gradients(
            product,
            -slope,
            self._loss.curvature * self._squares + mu,
            tolerance=REDUCTION / 10,
            least=LEAST_STEPS,
            most=MOST_STEPS,
        )

    def _lbfgs(self, point: Vector, center: Vector, mu: float) -> Vector:
        try:
            from scipy.optimize import minimize
        except ImportError:
            raise CarlsError(
                f"loss {self._loss.name!r} without a second derivative needs scipy: pip install 'carls[mtl]'"
            ) from None

        def regularized(x: Vector) -> tuple[float, Vector]:
            found = self._at(x)
            return found.value + mu / 2 * float(np.sum((x - center) ** 2)), found.gradient + mu * (x - center)

        start = float(np.linalg.norm(regularized(point)[1]))
        options = {"gtol": 1e-3 * REDUCTION * start, "ftol": 0.0, "maxiter": 500, "maxcor": 20}
        result = minimize(regularized, point, jac=True, method="L-BFGS-B", options=options)
        return np.asarray(result.x, np.float64)

    def _largest(self) -> float:
        """An upper bound of the largest eigenvalue of the weighted features' Gram matrix, to 1 %."""
        features, weights = self._samples.features, self._weights
        if self.dim <= DIRECT and not self._samples.sparse:
            return float(np.linalg.eigvalsh((features * weights[:, None]).T @ features)[-1])
        vector = np.random.default_rng(0).standard_normal(self.dim)
        value = 0.0
        for _ in range(200):
            vector /= np.linalg.norm(vector)
            vector = np.asarray(features.T @ (weights * (features @ vector)), np.float64)
            last, value = value, float(np.linalg.norm(vector))
            if value <= last * (1 + 1e-6):
                break
        return min(1.01 * value, float(self._squares.sum()))
