"""The estimators: scikit-learn's conventions, layouts of data, choice of rho."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from carls.errors import InvalidSpecError, InvalidValueError
from carls.mtl import (
    Graph,
    MultiTaskClassifier,
    MultiTaskClassifierCV,
    MultiTaskRegressor,
    MultiTaskRegressorCV,
    make_task,
)
from carls.mtl.coupled import together
from carls.mtl.path import largest_rho
from carls.specs import L21

#: All but the one that needs another environment variable, for array types that are not ours.
CHECKS = [
    pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}-{number}")
    for kind in (MultiTaskRegressor(), MultiTaskClassifier())
    for number, (estimator, check) in enumerate(estimator_checks_generator(kind))
    if check.func.__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def problem(classes: bool = False, seed: int = 0) -> tuple[list[Any], list[Any]]:
    random = np.random.default_rng(seed)
    shared = random.standard_normal(4)
    xs = [random.standard_normal((n, 4)) for n in (12, 30, 25)]
    ys = [x @ (shared + 0.2 * random.standard_normal(4)) + 0.5 * random.standard_normal(len(x)) for x in xs]
    return xs, [np.where(y > 0, "yes", "no") for y in ys] if classes else ys


def labelled(xs: list[Any], names: list[int]) -> Any:
    """One array, its column 2 the task; samples shuffled by their first feature."""
    tables = [np.insert(x, 2, name, axis=1) for x, name in zip(xs, names, strict=True)]
    table = np.vstack(tables)
    return table, np.argsort(table[:, 0])


@pytest.mark.parametrize("classes", [False, True])
def test_lists_and_a_task_column_are_the_same(classes: bool) -> None:
    xs, ys = problem(classes)
    kind: Any = MultiTaskClassifier if classes else MultiTaskRegressor
    lists = kind("nuclear", 0.5, tol=1e-9).fit(xs, ys)
    table, order = labelled(xs, [7, 3, 5])
    column = kind("nuclear", 0.5, tol=1e-9, task_column=2).fit(table[order], np.concatenate(ys)[order])
    assert column.tasks_ == [3, 5, 7]
    np.testing.assert_allclose(column.coef_, lists.coef_[[1, 2, 0]], atol=1e-5)
    assert column.score(table[order], np.concatenate(ys)[order]) == pytest.approx(
        lists.score(xs, ys), abs=1e-5
    )
    predictions = column.predict(table[order])
    assert predictions.shape == (67,)
    expected = np.concatenate(lists.predict(xs))[order]
    if classes:
        assert set(predictions) == {"no", "yes"}
        assert np.mean(predictions == expected) > 0.98
        together_, apart = column.predict_proba(table[order]), np.vstack(lists.predict_proba(xs))[order]
        np.testing.assert_allclose(together_, apart, atol=1e-4)
        np.testing.assert_allclose(apart.sum(axis=1), 1)
    else:
        np.testing.assert_allclose(predictions, expected, atol=1e-4)


def test_a_task_column_of_which_some_tasks_are_absent() -> None:
    xs, ys = problem()
    table, order = labelled(xs, [7, 3, 5])
    fitted = MultiTaskRegressor(task_column=2).fit(table, np.concatenate(ys))
    some = table[order][table[order][:, 2] != 3]
    np.testing.assert_allclose(fitted.predict(some), fitted.predict(table[order])[table[order][:, 2] != 3])
    with pytest.raises(InvalidValueError, match="task 9"):
        fitted.predict(np.array([[0, 0, 9, 0, 0.0]]))


def test_missing_targets_and_shared_features() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((40, 3))
    y = x @ random.standard_normal((3, 2)) + 0.1 * random.standard_normal((40, 2))
    known = random.random((40, 2)) < 0.6
    fitted = MultiTaskRegressor("l21", 1.0, tol=1e-9).fit(x, np.where(known, y, np.nan))
    lists = MultiTaskRegressor("l21", 1.0, tol=1e-9).fit(
        [x[known[:, t]] for t in range(2)], [y[known[:, t], t] for t in range(2)]
    )
    np.testing.assert_allclose(fitted.coef_, lists.coef_, atol=1e-6)
    assert fitted.predict(x).shape == (40, 2)
    assert fitted.score(x, np.where(known, y, np.nan)) > 0.9


def test_sparse_features_and_weights() -> None:
    xs, ys = problem()
    weights = [np.arange(len(y)) % 3 for y in ys]
    dense = MultiTaskRegressor("l1", 2.0, tol=1e-10).fit(xs, ys, sample_weight=weights)
    sparse = MultiTaskRegressor("l1", 2.0, tol=1e-10).fit(
        [scipy.sparse.csr_array(x) for x in xs], ys, sample_weight=weights
    )
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-5)
    repeated = [np.repeat(np.arange(len(w)), w) for w in weights]
    twice = MultiTaskRegressor("l1", 2.0, tol=1e-10).fit(
        [x[rows] for x, rows in zip(xs, repeated, strict=True)],
        [y[rows] for y, rows in zip(ys, repeated, strict=True)],
    )
    np.testing.assert_allclose(twice.coef_, dense.coef_, atol=1e-5)


def test_relations_are_between_named_tasks() -> None:
    """The rows of R are the labels, not positions."""
    xs, ys = problem()
    table, _ = labelled(xs, [7, 3, 5])
    graph = Graph([[1], [-1], [0]], tasks=["7", "5", "3"])
    fitted = MultiTaskRegressor(graph, 1e6, task_column=2, fit_intercept=False, tol=1e-9, max_iter=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(table, np.concatenate(ys))
    three, five, seven = fitted.coef_
    np.testing.assert_allclose(five, seven, atol=1e-3)
    np.testing.assert_allclose(three, np.linalg.lstsq(xs[1], ys[1], rcond=None)[0], atol=1e-3)


def test_pipelines_clones_and_searches() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 3)) * [1, 10, 100]
    y = (x / [1, 10, 100]) @ random.standard_normal((3, 2))
    pipeline = make_pipeline(StandardScaler(), MultiTaskRegressor("l21"))
    search = GridSearchCV(pipeline, {"multitaskregressor__rho": [0.1, 1000.0]}, cv=3).fit(x, y)
    assert search.best_params_ == {"multitaskregressor__rho": 0.1}
    assert search.score(x, y) > 0.99
    copy = clone(search.best_estimator_[-1])
    assert copy.get_params() == search.best_estimator_[-1].get_params()
    assert not hasattr(copy, "coef_")


def test_the_path_begins_where_all_models_are_0() -> None:
    xs, ys = problem()
    tasks = together([make_task(x, y, fit_intercept=True) for x, y in zip(xs, ys, strict=True)])
    rho = largest_rho(tasks, L21())
    assert (MultiTaskRegressor("l21", rho * 1.0001, tol=1e-10).fit(xs, ys).coef_ == 0).all()
    assert (MultiTaskRegressor("l21", rho * 0.99, tol=1e-10).fit(xs, ys).coef_ != 0).any()


@pytest.mark.parametrize("classes", [False, True])
def test_rho_is_chosen_by_held_out_loss(classes: bool) -> None:
    xs, ys = problem(classes)
    kind: Any = MultiTaskClassifierCV if classes else MultiTaskRegressorCV
    one = kind("nuclear", rhos=6, cv=3, random_state=0, tol=1e-8).fit(xs, ys)
    with parallel_config("threading"):
        two = kind("nuclear", rhos=6, cv=3, random_state=0, tol=1e-8, n_jobs=2).fit(xs, ys)
    np.testing.assert_allclose(one.loss_path_, two.loss_path_, rtol=1e-6)
    assert one.loss_path_.shape == (6, 3)
    assert one.rho_ == one.rhos_[np.argmin(one.loss_path_.mean(axis=1))]
    assert (np.diff(one.rhos_) < 0).all()
    alone: Any = (MultiTaskClassifier if classes else MultiTaskRegressor)("nuclear", one.rho_, tol=1e-8).fit(
        xs, ys
    )
    np.testing.assert_allclose(one.coef_, alone.coef_, atol=1e-4)
    assert one.score(xs, ys) == pytest.approx(alone.score(xs, ys), abs=1e-4)


def test_held_out_losses_are_those_of_fits_without_the_fold() -> None:
    xs, ys = problem()
    chosen = MultiTaskRegressorCV("nuclear", rhos=[3.0], cv=3, random_state=1, tol=1e-9)
    chosen.fit(xs, ys)
    # Each task's folds are drawn in turn, in the order of the tasks.
    folder = KFold(3, shuffle=True, random_state=np.random.RandomState(1))
    splits = [list(folder.split(x)) for x in xs]
    for fold in range(3):
        rows = [split[fold] for split in splits]
        fitted = MultiTaskRegressor("nuclear", 3.0, tol=1e-9).fit(
            [x[train] for x, (train, _) in zip(xs, rows, strict=True)],
            [y[train] for y, (train, _) in zip(ys, rows, strict=True)],
        )
        held = fitted.predict([x[test] for x, (_, test) in zip(xs, rows, strict=True)])
        errors = np.concatenate([y[test] - p for y, p, (_, test) in zip(ys, held, rows, strict=True)])
        assert chosen.loss_path_[0, fold] == pytest.approx(np.mean(errors**2) / 2, rel=1e-4)


@pytest.mark.slow
def test_school_is_explained_better_together(school: Any) -> None:
    """Five splits; rho is chosen within the training part. Alone and pooled fits explain less."""
    shares, alone, pooled = [], [], []
    for seed in range(5):
        random = np.random.default_rng(seed)
        orders = [random.permutation(len(y)) for y in school[1]]
        parts = [(order[: round(0.75 * len(order))], order[round(0.75 * len(order)) :]) for order in orders]
        train, test = (
            (
                [x[p[k]] for x, p in zip(school[0], parts, strict=True)],
                [y[p[k]] for y, p in zip(school[1], parts, strict=True)],
            )
            for k in (0, 1)
        )

        def explained(predicted: Any, test: Any = test) -> float:
            y = np.concatenate(test[1])
            return float(1 - np.var(y - np.concatenate(predicted)) / np.var(y))

        chosen = MultiTaskRegressorCV(
            "mean", rhos=[3, 10, 30, 100, 300], fit_intercept=False, random_state=seed, tol=1e-3, max_iter=500
        ).fit(*train)
        shares.append(explained(chosen.predict(test[0])))
        own = [
            np.linalg.lstsq(x.T @ x + np.eye(28), x.T @ y, rcond=None)[0] for x, y in zip(*train, strict=True)
        ]
        alone.append(explained([x @ w for x, w in zip(test[0], own, strict=True)]))
        one = np.linalg.lstsq(np.vstack(train[0]), np.concatenate(train[1]), rcond=None)[0]
        pooled.append(explained([x @ one for x in test[0]]))
    assert np.mean(shares) >= 0.37
    assert min(np.array(shares) - np.maximum(alone, pooled)) > 0


@pytest.mark.parametrize(
    ("estimator", "arguments", "error", "told"),
    [
        (MultiTaskRegressor("trace"), None, InvalidSpecError, "nuclear"),
        (MultiTaskRegressor(rho=0), None, InvalidSpecError, "rho=0"),
        (MultiTaskRegressor(loss="absolute"), None, InvalidSpecError, "least_squares"),
        (MultiTaskRegressor(), ([np.ones((3, 2))], np.ones(3)), InvalidValueError, "list of as many"),
        (
            MultiTaskRegressor(),
            ([np.ones((3, 2)), np.ones((3, 1))], [np.ones(3)] * 2),
            InvalidValueError,
            "as many columns",
        ),
        (MultiTaskRegressor(), ([np.ones((3, 2))], [np.full(3, np.nan)]), InvalidValueError, "missing"),
        (
            MultiTaskRegressor(task_column=5),
            (np.ones((3, 2)), np.ones(3)),
            InvalidValueError,
            "task_column=5",
        ),
        (MultiTaskRegressor(max_iter=0), None, InvalidSpecError, "max_iter=0"),
        (MultiTaskRegressor(max_iter=2.5), None, InvalidSpecError, r"max_iter=2\.5"),
        (MultiTaskRegressor(tol=float("nan")), None, InvalidSpecError, "tol=nan"),
        (MultiTaskRegressor(tol="small"), None, InvalidSpecError, "tol='small'"),
        (MultiTaskRegressor(rho="large"), None, InvalidSpecError, "rho='large'"),
        (
            MultiTaskRegressor(task_column="school"),
            (np.ones((3, 2)), np.ones(3)),
            InvalidValueError,
            "school",
        ),
        (MultiTaskRegressor(task_column=0), None, InvalidValueError, "task_column=0"),
        (MultiTaskRegressorCV(rhos="many"), None, InvalidSpecError, "rhos='many'"),
        (MultiTaskRegressorCV(rhos=0.5), None, InvalidSpecError, "rhos=0.5"),
        (MultiTaskRegressorCV(rhos=[-1.0]), None, InvalidSpecError, "rhos"),
        (MultiTaskRegressorCV(rhos=0), None, InvalidSpecError, "rhos"),
        (MultiTaskRegressorCV(cv=1), None, InvalidSpecError, "cv=1"),
    ],
)
def test_bad_input_is_told(estimator: Any, arguments: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        estimator.fit(*(arguments or problem()))


def test_a_gap_above_tol_is_told() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        fitted = MultiTaskRegressor("nuclear", 1.0, tol=1e-12, max_iter=3).fit(*problem())
    assert fitted.dual_gap_ > 1e-12
    assert fitted.n_iter_ == 3


def test_nodes_need_neither_scikit_learn_nor_scipy() -> None:
    code = (
        "import sys, carls.mtl as m; m.make_task([[1.0], [2.0]], [1, -1], 'logistic').profile();"
        "print([name for name in ('sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import carls.mtl\ntry:\n    carls.mtl.MultiTaskRegressor\n"
        "except carls.errors.CarlsError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'carls[mtl]'" in done.stdout


@pytest.mark.parametrize("kind", [MultiTaskRegressor, MultiTaskRegressorCV])
def test_weights_may_be_lists_of_numbers(kind: Any) -> None:
    xs, ys = problem()
    weights = [np.linspace(0.5, 2, len(y)) for y in ys]
    given = {} if kind is MultiTaskRegressor else {"rhos": [1.0, 10.0], "random_state": 0}
    arrays = kind(**given).fit(xs, ys, weights)
    lists = kind(**given).fit(xs, [y.tolist() for y in ys], [w.tolist() for w in weights])
    np.testing.assert_array_equal(lists.coef_, arrays.coef_)


def test_missing_classes_among_classes_that_are_strings() -> None:
    xs, numbers = problem()
    numbers = [(y > 0).astype(float) for y in numbers]
    names: list[Any] = [np.where(y > 0, "yes", "no").astype(object) for y in numbers]
    for number, name in zip(numbers, names, strict=True):
        number[::4] = name[::4] = np.nan
    of_names, of_numbers = MultiTaskClassifier().fit(xs, names), MultiTaskClassifier().fit(xs, numbers)
    assert of_names.classes_.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(of_names.coef_, of_numbers.coef_)
    assert of_names.score(xs, names) == of_numbers.score(xs, numbers)
    table = np.stack([name[:12] for name in names], axis=1)
    shared = MultiTaskClassifier().fit(xs[0], table)
    assert set(shared.predict(xs[0]).ravel()) <= {"no", "yes"}
    assert 0.5 < shared.score(xs[0], table) <= 1


def test_a_task_without_any_target_does_not_count_in_the_score() -> None:
    xs, ys = problem()
    y = np.stack([ys[0], np.full(12, np.nan)], axis=1)
    fitted = MultiTaskRegressor().fit(xs[0], y)
    assert fitted.score(xs[0], y) == pytest.approx(r2_score(ys[0], fitted.predict(xs[0])[:, 0]))


@pytest.mark.parametrize("seed", range(3))
def test_what_one_model_explains_whole_is_explained(seed: int) -> None:
    # Four samples of six features: the optimum is 0, and so are all gradients there.
    random = np.random.default_rng(seed)
    xs = [random.standard_normal((2, 6)) for _ in range(2)]
    ys = [random.standard_normal(2) for _ in xs]
    with pytest.warns(ConvergenceWarning):  # no gap is small beside an objective of 0
        fitted = MultiTaskRegressor("mean", fit_intercept=False, max_iter=2000).fit(xs, ys)
    assert fitted.objective_ < 1e-9
    np.testing.assert_allclose(fitted.predict(xs), ys, atol=1e-5)
