"""Regularizers: their proximal maps and conjugates against their definitions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from carls.errors import InvalidSpecError
from carls.specs import (
    L1,
    L21,
    ElasticNet,
    Graph,
    MeanRegularized,
    Nuclear,
    Regularizer,
    Ridge,
    SparseRows,
    Sum,
)

CHAIN = [[1, 0], [-1, 1], [0, -2], [0, 0]]
TASKS = 4


def trace_norm(w: Any) -> float:
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(w @ w.T), 0)).sum())


def row_norms(w: Any) -> float:
    return sum(float(np.sqrt(sum(x * x for x in row))) for row in w)


#: Each with its definition, written down once more.
KINDS: list[tuple[Regularizer, Any]] = [
    (Nuclear(), trace_norm),
    (L21(), row_norms),
    (L1(), lambda w: sum(abs(float(x)) for x in w.flat)),
    (SparseRows(0.5, 2.0), lambda w: 0.5 * np.abs(w).sum() + 2 * row_norms(w)),
    (Ridge(), lambda w: sum(float(x) ** 2 for x in w.flat)),
    (ElasticNet(0.3), lambda w: 0.3 * np.abs(w).sum() + 0.7 * (w**2).sum()),
    (MeanRegularized(), lambda w: sum(((w[:, t] - w.mean(axis=1)) ** 2).sum() for t in range(w.shape[1]))),
    (Graph(CHAIN), lambda w: ((w[:, 0] - w[:, 1]) ** 2).sum() + ((w[:, 1] - 2 * w[:, 2]) ** 2).sum()),
    (Sum([(2, "nuclear"), (0.1, "ridge")]), lambda w: 2 * trace_norm(w) + 0.1 * (w**2).sum()),
    (Sum([(1, "l1"), (0.5, "l21")]), lambda w: np.abs(w).sum() + 0.5 * row_norms(w)),
    (
        Sum([(1, ElasticNet(0.5)), (3, L21())]),
        lambda w: 0.5 * np.abs(w).sum() + 0.5 * (w**2).sum() + 3 * row_norms(w),
    ),
    (
        Sum([(2, "mean"), (0.5, Graph(CHAIN)), (0.1, "ridge")]),
        lambda w: (
            2 * ((w - w.mean(axis=1, keepdims=True)) ** 2).sum()
            + 0.5 * ((w @ np.array(CHAIN)) ** 2).sum()
            + 0.1 * (w**2).sum()
        ),
    ),
]
each = pytest.mark.parametrize(("regularizer", "definition"), KINDS, ids=lambda x: getattr(x, "name", ""))
seeds = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)


def matrix(seed: int, dim: int = 3, scale: float = 1.0) -> Any:
    return np.random.default_rng(seed).standard_normal((dim, TASKS)) * scale


@each
@few
@given(seed=seeds, dim=st.integers(1, 6))
def test_value_is_the_definition(regularizer: Regularizer, definition: Any, seed: int, dim: int) -> None:
    w = matrix(seed, dim)
    assert regularizer.value(w) == pytest.approx(definition(w), rel=1e-7, abs=1e-12)
    assert regularizer.value(np.zeros((dim, TASKS))) == 0


@each
@few
@given(seed=seeds, step=st.floats(1e-3, 10), scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_proximal_map_minimises(
    regularizer: Regularizer, definition: Any, seed: int, step: float, scale: float
) -> None:
    """(V - P) / step is a subgradient of g at P: that is so for the minimiser and no other point."""
    v = matrix(seed, scale=scale)
    p = regularizer.prox(v, step)
    subgradient = (v - p) / step
    for other in range(20):
        z = p + matrix(other, scale=10.0 ** -(other % 4))
        assert definition(z) >= definition(p) + np.sum(subgradient * (z - p)) - 1e-7 * (1 + definition(z))


@each
@few
@given(seed=seeds, rho=st.floats(0.01, 10))
def test_conjugate_bounds_all_models(
    regularizer: Regularizer, definition: Any, seed: int, rho: float
) -> None:
    y = matrix(seed)
    radius = 5.0
    scale, bound = regularizer.conjugate(y, rho, radius)
    assert 0 < scale <= 1
    for other in range(20):
        w = matrix(other)
        w *= radius * (other / 19) / np.linalg.norm(w)
        assert scale * np.sum(y * w) - rho * definition(w) <= bound + 1e-9


@pytest.mark.parametrize(
    ("norm", "best"),
    [
        (Nuclear(), lambda y: np.outer(*(lambda u, s, v: (u[:, 0], v[0]))(*np.linalg.svd(y)))),
        (L21(), lambda y: y * (np.linalg.norm(y, axis=1) == np.linalg.norm(y, axis=1).max())[:, None]),
        (L1(), lambda y: np.sign(y) * (np.abs(y) == np.abs(y).max())),
    ],
)
def test_dual_norms_are_reached(norm: Any, best: Any) -> None:
    y = matrix(3)
    w = best(y)
    assert norm.dual_norm(y) == pytest.approx(np.sum(y * w) / norm.value(w))


def test_dual_norm_of_sparse_rows_is_the_largest_ratio() -> None:
    norm, y = SparseRows(0.5, 2.0), matrix(4)

    def ratio(row: Any, w: Any) -> float:
        return float(row @ w) / (0.5 * np.abs(w).sum() + 2 * float(np.linalg.norm(w)))

    # A model with one row only is always among the best.
    options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-10, "fatol": 1e-12}
    best = max(
        -minimize(lambda w, row=row: -ratio(row, w), row, method="Nelder-Mead", options=options).fun
        for row in y
    )
    assert norm.dual_norm(y) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    ("regularizer", "parts", "cost"),
    [
        (Ridge(), lambda y: y.ravel(), lambda x: x**2),
        (ElasticNet(0.3), lambda y: y.ravel(), lambda x: 0.3 * abs(x) + 0.7 * x**2),
        (
            Sum([(2, "nuclear"), (0.1, "ridge")]),
            lambda y: np.linalg.svd(y, compute_uv=False),
            lambda x: 2 * abs(x) + 0.1 * x**2,
        ),
    ],
)
def test_conjugates_of_the_strongly_convex_are_exact(regularizer: Regularizer, parts: Any, cost: Any) -> None:
    """They fall into one problem for each element, or for each singular value."""
    y, rho = matrix(5), 0.3
    best = sum(
        -minimize_scalar(lambda x, part=part: rho * cost(x) - part * x, bounds=(-50, 50)).fun
        for part in parts(y)
    )
    scale, bound = regularizer.conjugate(y, rho, 0.0)
    assert scale == 1
    assert bound == pytest.approx(best, rel=1e-6)


@few
@given(seeds, st.floats(0.1, 3))
def test_models_that_cost_nothing_are_bounded_by_the_radius(seed: int, radius: float) -> None:
    y = np.repeat(matrix(seed)[:, :1], TASKS, axis=1)  # only equal models answer it
    _, bound = MeanRegularized().conjugate(y, 1.0, radius)
    best = radius * y / np.linalg.norm(y)
    assert bound == pytest.approx(np.sum(y * best), rel=1e-6)


def test_relations_to_absent_tasks_count_for_nothing() -> None:
    graph = Graph([[1, 0], [-1, 1], [0, -1]], tasks=["a", "b", "c"])
    w = matrix(1)[:, :3]
    assert graph.over(["b", "a"]).value(w[:, :2]) == pytest.approx(((w[:, 0] - w[:, 1]) ** 2).sum())
    assert graph.over(["a", "c"]).value(w[:, :2]) == 0
    assert graph.over(["c", "new", "b"]).value(w) == pytest.approx(((w[:, 0] - w[:, 2]) ** 2).sum())
    whole = Sum([(2, graph), (1, "ridge")]).over(["b", "a"])
    expected = 2 * ((w[:, 0] - w[:, 1]) ** 2).sum() + (w[:, :2] ** 2).sum()
    assert whole.value(w[:, :2]) == pytest.approx(expected)


@each
def test_json_and_back(regularizer: Regularizer, definition: Any) -> None:
    again = Regularizer.of(json.loads(json.dumps(regularizer.to_json())))
    assert again == regularizer
    assert hash(again) == hash(regularizer)
    np.testing.assert_array_equal(again.prox(matrix(1), 0.7), regularizer.prox(matrix(1), 0.7))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Sum([(1, "nuclear"), (1, "l1")]), "closed proximal map"),
        (lambda: Sum([(1, "nuclear"), (1, "mean")]), "closed proximal map"),
        (lambda: Sum([]), "closed proximal map"),
        (lambda: Sum([(0, "l1")]), "> 0"),
        (lambda: Sum([("much", "l1")]), "pairs"),
        (lambda: Sum([(1, "trace")]), "nuclear"),
        (lambda: Regularizer.of("trace"), r"carls\.mtl\.Nuclear"),
        (lambda: ElasticNet(1.5), "l1_ratio"),
        (lambda: SparseRows(0, 1), "> 0"),
        (lambda: Graph([[1, float("nan")]]), "finite"),
        (lambda: Graph([[1], [2]], tasks=["a"]), "2 names"),
        (lambda: Graph("relations"), "numbers"),
        (lambda: Graph([[1], [2]]).value(np.zeros((3, 4))), "2 tasks"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, told: str) -> None:
    with pytest.raises(InvalidSpecError, match=told):
        make()


@each
def test_no_tasks_cost_nothing(regularizer: Regularizer, definition: Any) -> None:
    alone = regularizer.over([])
    assert alone.value(np.zeros((3, 0))) == 0
    assert alone.prox(np.zeros((3, 0)), 1.0).shape == (3, 0)


@few
@given(seeds, st.integers(1, 6), st.sampled_from(["ridge", "mean"]))
def test_projections_do_as_the_relations_that_they_stand_for(seed: int, tasks: int, name: str) -> None:
    """Their closed forms against eigenvectors of R R'."""
    regularizer = Regularizer.of(name)
    relations = Sum([(1.0, regularizer)])  # has eigenvectors
    w = np.random.default_rng(seed).standard_normal((3, tasks))
    np.testing.assert_allclose(regularizer.value(w), relations.value(w), atol=1e-12)
    for step in (1e-9, 0.7, 1e30):
        np.testing.assert_allclose(regularizer.prox(w, step), relations.prox(w, step), atol=1e-12)
    np.testing.assert_allclose(
        regularizer.conjugate(w, 0.3, 2.0), relations.conjugate(w, 0.3, 2.0), atol=1e-10
    )
    np.testing.assert_allclose(regularizer.slope(2.0, 3, tasks), relations.slope(2.0, 3, tasks), atol=1e-12)


@pytest.mark.parametrize("name", ["ridge", "mean"])
def test_projections_of_thousands_of_tasks_take_no_eigenvectors(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np.linalg, "eigh", None)
    regularizer, w = Regularizer.of(name), np.ones((2, 4096))
    np.testing.assert_allclose(regularizer.prox(w, 0.5), w if name == "mean" else w / 2)
    assert regularizer.slope(1.0, 2, 4096) == pytest.approx(2.0, rel=1e-3)
    assert regularizer.value(w) == (0.0 if name == "mean" else 8192.0)
    assert regularizer.conjugate(w, 1.0, 1.0)[1] > 0
