"""Losses and local solves, against scipy's minimiser and the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from scipy.optimize import minimize, minimize_scalar

from carls.errors import CarlsError, InvalidSpecError, InvalidValueError
from carls.mtl import LeastSquares, Logistic, Smooth, SquaredHinge, make_task
from carls.mtl.conjugate_gradients import conjugate_gradients
from carls.mtl.quadratic import QuadraticTask
from carls.mtl.smooth import SmoothTask


def huber(predictions: Any, targets: Any) -> tuple[Any, Any]:
    """A smooth loss of another kind."""
    residuals = predictions - targets
    inside = np.abs(residuals) <= 1
    return np.where(inside, residuals**2 / 2, np.abs(residuals) - 0.5), np.clip(residuals, -1, 1)


#: By loss: its definition for one sample, and whether a task has the mean.
DEFINITIONS: dict[Any, tuple[Any, bool]] = {
    "least_squares": (lambda p, y: (p - y) ** 2 / 2, False),
    "logistic": (lambda p, y: np.log1p(np.exp(-y * p)), True),
    "squared_hinge": (lambda p, y: np.maximum(0, 1 - y * p) ** 2, True),
    huber: (lambda p, y: huber(p, y)[0], False),
}
losses = pytest.mark.parametrize("loss", DEFINITIONS, ids=lambda loss: getattr(loss, "__name__", loss))
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["through 0", "intercept"])
forms = pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])


def samples(loss: Any, rows: int = 30, dim: int = 4, seed: int = 0) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, dim)) * (random.random((rows, dim)) < 0.7)
    targets = features @ random.standard_normal(dim) + random.standard_normal(rows) + 0.5
    if loss in ("logistic", "squared_hinge"):
        targets = np.where(targets > 0, 1.0, -1.0)
    return features, targets, random.uniform(0.5, 2, rows)


def definition(loss: Any, features: Any, targets: Any, weights: Any, intercept: bool) -> Any:
    """l(x), written down once more; the best intercept by a bounded search."""
    each, mean = DEFINITIONS[loss]
    share = weights / weights.sum() if mean else weights

    def value(x: Any) -> float:
        if not intercept:
            return float(share @ each(features @ x, targets))
        return float(
            minimize_scalar(
                lambda b: share @ each(features @ x + b, targets), bounds=(-20, 20), options={"xatol": 1e-10}
            ).fun
        )

    return value


@losses
@intercepts
@forms
def test_loss_and_gradient_are_those_of_the_definition(loss: Any, intercept: bool, form: Any) -> None:
    features, targets, weights = samples(loss)
    task = make_task(form(features), targets, loss, weights=weights, fit_intercept=intercept)
    value = definition(loss, features, targets, weights, intercept)
    for seed in range(3):
        x, step = np.random.default_rng(seed).standard_normal(4), 1e-4
        found = task.evaluate(x)
        assert found.evidence.loss == pytest.approx(value(x), rel=1e-7)
        slopes = [(value(x + step * e) - value(x - step * e)) / (2 * step) for e in np.eye(4)]
        np.testing.assert_allclose(found.gradient, slopes, rtol=1e-4, atol=1e-5)


@losses
@intercepts
@forms
@pytest.mark.parametrize("mu", [0.01, 1.0, 30.0])
def test_proximal_maps_minimise(loss: Any, intercept: bool, form: Any, mu: float) -> None:
    features, targets, weights = samples(loss)
    task = make_task(form(features), targets, loss, weights=weights, fit_intercept=intercept)
    for seed in range(3):
        center = np.random.default_rng(seed).standard_normal(4)
        for _ in range(4):  # each starts from the last one's result
            x = task.proximal(center, mu)
        # The problem is convex, so a vanishing gradient is enough; the gradient is tested above.
        slope = task.evaluate(x).gradient + mu * (x - center)
        assert np.linalg.norm(slope) <= 1e-6 * np.linalg.norm(task.evaluate(center).gradient) + 1e-9


@losses
@intercepts
@forms
def test_evidence_bounds_the_conjugate(loss: Any, intercept: bool, form: Any) -> None:
    """l*(s y) = max over x of <s y, x> - l(x): the bound is above what any x gives, and reached at s = 1."""
    features, targets, weights = samples(loss)
    task = make_task(form(features), targets, loss, weights=weights, fit_intercept=intercept)
    value = definition(loss, features, targets, weights, intercept)
    x = np.random.default_rng(1).standard_normal(4)
    found = task.evaluate(x)
    y, (at_x, square, linear) = found.gradient, found.evidence
    assert at_x == pytest.approx(value(x), rel=1e-7)
    for s in (0.3, 0.8, 1.0):
        best = -minimize(lambda z, s=s: value(z) - s * (y @ z), x, options={"maxiter": 30}).fun
        assert best <= square * s**2 + linear * s + 1e-7
    assert square + linear == pytest.approx(y @ x - value(x), rel=1e-6, abs=1e-7)


@losses
@intercepts
def test_weights_and_missing_targets(loss: Any, intercept: bool) -> None:
    """A sample of weight 2 counts as two; one whose target is missing, or of weight 0, does not count."""
    features, targets, _ = samples(loss)
    weights = np.tile([0.0, 1.0, 2.0], 10)
    missing = np.where(np.arange(30) % 5 == 0, np.nan, targets)
    task = make_task(features, missing, loss, weights=weights, fit_intercept=intercept)
    rows = [row for row in np.repeat(np.arange(30), weights.astype(int)) if row % 5]
    twin = make_task(features[rows], targets[rows], loss, fit_intercept=intercept)
    x = np.ones(4)
    np.testing.assert_allclose(task.evaluate(x).evidence, twin.evaluate(x).evidence, rtol=1e-9)
    np.testing.assert_allclose(task.proximal(x, 1.0), twin.proximal(x, 1.0), atol=1e-3)
    assert task.evaluate(x).intercept == pytest.approx(twin.evaluate(x).intercept, abs=1e-9)


@pytest.mark.parametrize("rows", [0, 1, 3, 50])
@intercepts
def test_least_squares_compressed_or_not_is_the_same(rows: int, intercept: bool) -> None:
    features, targets, weights = samples("least_squares", rows)
    dense = make_task(features, targets, weights=weights, fit_intercept=intercept)
    sparse = make_task(scipy.sparse.csr_array(features), targets, weights=weights, fit_intercept=intercept)
    assert isinstance(dense, QuadraticTask)
    assert isinstance(sparse, SmoothTask)
    exact, bounded = dense.profile(), sparse.profile()
    assert exact.ridge_norm == pytest.approx(bounded.ridge_norm, rel=0.05)
    assert exact.lipschitz <= bounded.lipschitz * (1 + 1e-9)
    x = np.ones(4)
    one, two = dense.evaluate(x), sparse.evaluate(x)
    np.testing.assert_allclose(one.evidence, two.evidence, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.gradient, two.gradient, atol=1e-9)
    if rows:
        assert one.intercept == pytest.approx(two.intercept)
    np.testing.assert_allclose(dense.proximal(x, 0.5), sparse.proximal(x, 0.5), atol=1e-4)


def test_many_features_are_solved_by_conjugate_gradients() -> None:
    random = np.random.default_rng(0)
    features = scipy.sparse.random_array((400, 2000), density=0.01, rng=random, format="csr")
    targets = features @ random.standard_normal(2000)
    task = make_task(features, targets)
    center = random.standard_normal(2000)
    for _ in range(3):  # each starts from the last one's result
        x = task.proximal(center, 0.3)
    system = (features.T @ features).toarray() + 0.3 * np.eye(2000)
    exact = np.linalg.solve(system, features.T @ targets + 0.3 * center)
    np.testing.assert_allclose(x, exact, atol=1e-6)
    assert task.profile().lipschitz == pytest.approx(scipy.sparse.linalg.norm(features, 2) ** 2, rel=0.02)


def test_conjugate_gradients_solve() -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal((20, 20))
    a = a @ a.T + np.eye(20)
    right = random.standard_normal(20)
    found = conjugate_gradients(lambda v: a @ v, right, np.diag(a), tolerance=1e-10, least=10, most=500)
    np.testing.assert_allclose(found, np.linalg.solve(a, right), atol=1e-7)


def test_a_task_whose_targets_are_all_of_one_class() -> None:
    """The best intercept is infinite; what is found predicts that class, and costs nothing."""
    features, _, _ = samples("logistic")
    task = make_task(features, np.ones(30), "logistic", fit_intercept=True)
    found = task.evaluate(np.ones(4))
    assert found.evidence.loss == pytest.approx(0, abs=1e-10)
    assert np.isfinite(found.intercept)
    assert (features @ np.ones(4) + found.intercept > 0).all()
    assert np.isfinite(task.proximal(np.ones(4), 1.0)).all()


@pytest.mark.parametrize("loss", [LeastSquares(), Logistic(), SquaredHinge()], ids=lambda loss: loss.name)
def test_derivatives(loss: Any) -> None:
    predictions = np.array([-800.0, -2.0, -0.1, 0.2, 1.5, 800.0])
    targets = np.array([1.0, -1, 1, -1, -1, 1])
    value, first, second = loss.evaluate(predictions, targets)
    above, below = (loss.evaluate(predictions + step, targets) for step in (1e-5, -1e-5))
    np.testing.assert_allclose(first, (above[0] - below[0]) / 2e-5, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(second, (above[1] - below[1]) / 2e-5, rtol=1e-4, atol=1e-8)
    assert (second <= loss.curvature).all()
    assert np.isfinite(value).all()


BAD: list[tuple[Any, type[CarlsError], str]] = [
    (lambda x, y: make_task(x, y[:-1]), InvalidValueError, r"\(29,\)"),
    (lambda x, y: make_task(x[0], y), InvalidValueError, r"\(samples, dim\)"),
    (lambda x, y: make_task(x * np.inf, y), InvalidValueError, "impute"),
    (lambda x, y: make_task(scipy.sparse.csr_array(x * np.inf), y), InvalidValueError, "impute"),
    (lambda x, y: make_task(x, y * np.inf), InvalidValueError, "targets"),
    (lambda x, y: make_task(x, y, weights=-np.ones(30)), InvalidValueError, "weights"),
    (lambda x, y: make_task([["a"]], ["b"]), InvalidValueError, "numbers"),
    (lambda x, y: make_task(x, y, "logistic"), InvalidValueError, "-1 or 1"),
    (lambda x, y: make_task(x, y, "absolute"), InvalidSpecError, "least_squares"),
    (lambda x, y: make_task(x, y, lambda p, t: (0.0, p)).evaluate(x[0]), InvalidValueError, "values"),
    (lambda x, y: make_task(x, y, Smooth(lambda p, t: (p, p * np.nan))), InvalidValueError, "derivatives"),
]


@pytest.mark.parametrize(("call", "error", "told"), BAD)
def test_bad_input_is_told(call: Any, error: type[CarlsError], told: str) -> None:
    features, targets, _ = samples("least_squares")
    with np.errstate(invalid="ignore"), pytest.raises(error, match=told):
        call(features, targets)
