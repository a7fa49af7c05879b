"""Optima: certified on real data, and the same as other software finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso, LogisticRegression, MultiTaskLasso, Ridge
from sklearn.preprocessing import StandardScaler

from carls.bank.task_matrix import TaskMatrix
from carls.mtl import (
    DouglasRachford,
    ElasticNet,
    Graph,
    Logistic,
    MultiTaskClassifier,
    MultiTaskRegressor,
    Nuclear,
    Regularizer,
    Simulation,
    make_task,
)


def objective(xs: Any, ys: Any, regularizer: Any, rho: float, coef: Any) -> float:
    """By its definition."""
    losses = sum(0.5 * float(np.sum((x @ w - y) ** 2)) for x, y, w in zip(xs, ys, coef, strict=True))
    return losses + rho * regularizer.value(coef.T)


@pytest.mark.parametrize("regularizer", ["nuclear", "l21"])
@pytest.mark.parametrize("rho", [10.0, 100.0, 1000.0])
def test_school_is_solved_to_a_certified_gap(school: Any, regularizer: str, rho: float) -> None:
    fitted = MultiTaskRegressor(regularizer, rho, fit_intercept=False, tol=1e-8, max_iter=1000).fit(*school)
    assert fitted.dual_gap_ <= 1e-8
    kind = Regularizer.of(regularizer)
    here = objective(*school, kind, rho, fitted.coef_)
    assert fitted.objective_ == pytest.approx(here, rel=1e-12)
    # The certificate once more, from residuals: with Y = X' r scaled into the dual ball, the optimum
    # is at least -(s^2/2 |r|^2 + s <r, y>).
    residuals = [x @ w - y for x, y, w in zip(*school, fitted.coef_, strict=True)]
    dual = np.stack([x.T @ r for x, r in zip(school[0], residuals, strict=True)], 1)
    size = np.linalg.norm(dual, 2) if regularizer == "nuclear" else np.linalg.norm(dual, axis=1).max()
    s = min(1.0, rho / size)
    pairs = list(zip(residuals, school[1], strict=True))
    bound = -sum(s**2 / 2 * float(r @ r) + s * float(r @ y) for r, y in pairs)
    assert bound <= here
    assert here - bound <= 1e-3 * here  # the solver's dual points are better than these models'


@pytest.mark.parametrize("schools", [15, pytest.param(139, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rho", [0.2, 0.5])
@pytest.mark.parametrize("regularizer", ["nuclear", "l21"])
def test_logistic_school_has_a_vanishing_gradient_map(
    school: Any, regularizer: str, rho: float, schools: int
) -> None:
    xs, ys = (part[:schools] for part in school)
    spread = np.vstack(xs).std(axis=0) > 0
    scaler = StandardScaler().fit(np.vstack(xs)[:, spread])
    xs, ys = [scaler.transform(x[:, spread]) for x in xs], [np.where(y > 20, 1.0, -1.0) for y in ys]
    fitted = MultiTaskClassifier(regularizer, rho, tol=1e-12, max_iter=400).fit(xs, ys)
    gradient, largest = [], 0.0
    for x, y, w, b in zip(xs, ys, fitted.coef_, fitted.intercept_, strict=True):
        wrong = 1 / (1 + np.exp(y * (x @ w + b)))
        assert abs(np.mean(y * wrong)) < 1e-10  # the intercept is at its best
        gradient.append(-x.T @ (y * wrong) / len(y))
        largest = max(largest, np.linalg.norm(x, 2) ** 2 / (4 * len(y)))
    w, step = fitted.coef_.T, 1 / largest
    moved = Regularizer.of(regularizer).prox(w - step * np.stack(gradient, 1), step * rho)
    assert np.linalg.norm(w - moved) / step < 1e-8


def shared(tasks: int = 3, rows: int = 60, dim: int = 8) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    features = random.standard_normal((rows, dim))
    models = random.standard_normal((dim, tasks)) * (np.arange(dim) < 3)[:, None]
    return features, features @ models + 0.3 * random.standard_normal((rows, tasks)) + 1.0


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5])
def test_agrees_with_multi_task_lasso(intercept: bool, alpha: float) -> None:
    """Its objective is 1/(2n) |Y - XW|^2 + alpha * l21: ours over n, with rho = n * alpha."""
    x, y = shared()
    theirs = MultiTaskLasso(alpha, fit_intercept=intercept, tol=1e-10, max_iter=100_000).fit(x, y)
    ours = MultiTaskRegressor("l21", len(x) * alpha, fit_intercept=intercept, tol=1e-11).fit(x, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-5)


def test_agrees_with_single_task_solvers() -> None:
    x, y = shared()
    n = len(x)
    for ours, theirs in (
        (MultiTaskRegressor("l1", n * 0.1, tol=1e-11), Lasso(0.1, tol=1e-10, max_iter=100_000)),
        (MultiTaskRegressor("ridge", 3.0, tol=1e-11), Ridge(6.0)),  # ours has the half on the loss
        (
            MultiTaskRegressor(ElasticNet(0.4), 20.0, tol=1e-11),  # 8 |W|_1 + 12 |W|^2
            SklearnElasticNet(32 / n, l1_ratio=0.25, tol=1e-10, max_iter=100_000),
        ),
    ):
        expected = [theirs.fit(x, target).coef_ for target in y.T]
        np.testing.assert_allclose(ours.fit(x, y).coef_, expected, atol=1e-5)


def test_agrees_with_logistic_regression() -> None:
    x, y = shared()
    classes = np.where(y > 1, "up", "down")
    ours = MultiTaskClassifier("ridge", 0.05, tol=1e-12).fit(x, classes)
    for task in range(3):
        # Theirs: C * sum of losses + 1/2 |w|^2.
        theirs = LogisticRegression(C=1 / (len(x) * 2 * 0.05), tol=1e-10, max_iter=10_000).fit(
            x, classes[:, task]
        )
        np.testing.assert_allclose(ours.coef_[task], theirs.coef_[0], atol=1e-5)
        assert ours.intercept_[task] == pytest.approx(theirs.intercept_[0], abs=1e-5)


@pytest.mark.parametrize(
    ("regularizer", "relations"),
    [("mean", np.eye(3) - 1 / 3), (Graph([[1, 0], [-1, 2], [0, -1]]), np.array([[1, 0], [-1, 2], [0, -1]]))],
)
def test_quadratic_couplings_solve_the_normal_equations(regularizer: Any, relations: Any) -> None:
    random = np.random.default_rng(1)
    xs = [random.standard_normal((n, 4)) for n in (10, 20, 6)]
    ys = [random.standard_normal(len(x)) for x in xs]
    fitted = MultiTaskRegressor(regularizer, 2.0, fit_intercept=False, tol=1e-11).fit(xs, ys)
    system = 2 * 2.0 * np.kron(relations @ relations.T, np.eye(4))
    for task, x in enumerate(xs):
        system[4 * task : 4 * task + 4, 4 * task : 4 * task + 4] += x.T @ x
    exact = np.linalg.solve(system, np.concatenate([x.T @ y for x, y in zip(xs, ys, strict=True)]))
    np.testing.assert_allclose(fitted.coef_.ravel(), exact, atol=1e-4)
    assert fitted.dual_gap_ <= 1e-11


@pytest.mark.parametrize("algorithm", ["douglas_rachford", "forward_backward"])
def test_both_algorithms_find_the_same_optimum(algorithm: str) -> None:
    x, y = shared()
    one = MultiTaskRegressor("nuclear", 5.0, algorithm=algorithm, tol=1e-10).fit(x, y)
    two = MultiTaskRegressor("nuclear", 5.0, tol=1e-10).fit(x, y)
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-4)


@pytest.mark.parametrize("slow", [1, 10])
def test_simulated_nodes_reach_the_optimum_that_rounds_reach(slow: int) -> None:
    random = np.random.default_rng(0)
    xs = [random.standard_normal((30, 5)) for _ in range(6)]
    ys = [x @ np.ones(5) + random.standard_normal(30) for x in xs]
    nodes = {str(task): make_task(x, y) for task, (x, y) in enumerate(zip(xs, ys, strict=True))}
    run = Simulation(
        nodes,
        lambda clock: TaskMatrix(5, "nuclear", 20.0, DouglasRachford(), clock),
        lambda task: (1 + random.exponential()) * (slow if task == "0" else 1),
    )
    times = [now for now, _ in zip(run.pushes(), range(3000), strict=False)]
    assert times == sorted(times)
    gap = run.matrix.gap()
    assert gap is not None
    assert gap.relative < 1e-8
    exact = MultiTaskRegressor(Nuclear(), 20.0, fit_intercept=False, tol=1e-11).fit(xs, ys)
    np.testing.assert_allclose(run.matrix.models().values.T, exact.coef_, atol=1e-4)
    assert gap.objective == pytest.approx(objective(xs, ys, Nuclear(), 20.0, exact.coef_), rel=1e-7)
    assert max(epoch.longest_delay for epoch in run.matrix.history) >= 5


def test_simulated_classifiers_reach_the_optimum_too() -> None:
    x, y = shared()
    classes = np.where(y > 1, 1.0, -1.0)
    nodes = {str(task): make_task(x, classes[:, task], Logistic(), fit_intercept=True) for task in range(3)}
    random = np.random.default_rng(0)
    run = Simulation(
        nodes,
        lambda clock: TaskMatrix(8, "l21", 0.1, "douglas_rachford", clock),
        lambda task: 1 + random.exponential(),
    )
    for _ in zip(run.pushes(), range(400), strict=False):
        pass
    exact = MultiTaskClassifier("l21", 0.1, tol=1e-11).fit(x, classes)
    np.testing.assert_allclose(run.matrix.models().values.T, exact.coef_, atol=1e-5)
