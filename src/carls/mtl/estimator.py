"""What the estimators share: scikit-learn's conventions around coupled tasks."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data

from carls.errors import InvalidSpecError, InvalidValueError
from carls.mtl.coupled import Tasks, together
from carls.mtl.layouts import Labelled, Layout, Parts, Separate, Shared
from carls.mtl.solver import Solution, solve
from carls.mtl.tasks import make_task
from carls.specs.algorithms import Algorithm
from carls.specs.integers import check_integer
from carls.specs.regularizer import Regularizer


class MultiTaskEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators."""

    regularizer: Any
    rho: float
    loss: Any
    fit_intercept: bool
    algorithm: Any
    task_column: int | None
    tol: float
    max_iter: int

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit all tasks together.

        Args:
            X: a list of arrays (n_t, dim), one for each task; or an array (n, dim), with the column
                `task_column` for the tasks' labels, or shared by all tasks. Dense or sparse.
            y: a list of arrays (n_t,); or (n,); or (n, tasks) if X is shared. NaN where missing.
            sample_weight: as y, at least 0; (n,) if X is shared.
        """
        layout, parts = self._gather(X, y, sample_weight)
        tasks = self._couple(parts)
        self._finish(layout, parts, tasks, self._solve(tasks, parts, float(self.rho), None))
        return self

    def _gather(self, X: Any, y: Any, weights: Any) -> tuple[Layout, Parts]:
        """Check the samples and part them by task."""
        if not (isinstance(self.rho, Real) and 0 < self.rho < float("inf")):
            raise InvalidSpecError(f"rho={self.rho!r:.60}: expected a finite number > 0")
        if not (isinstance(self.tol, Real) and self.tol >= 0):
            raise InvalidSpecError(f"tol={self.tol!r:.60}: expected a number >= 0")
        check_integer("max_iter", self.max_iter, 1, 2**63 - 1)
        layout: Layout
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if self.task_column is not None and not isinstance(self.task_column, Integral):
            raise InvalidValueError(f"task_column={self.task_column!r:.60}: expected the number of a column")
        if _lists(X):
            if self.task_column is not None:
                raise InvalidValueError(
                    f"task_column={self.task_column}: X is a list of arrays, one for each task: expected one "
                    "array with a column for the task, or task_column=None"
                )
            layout = Separate()
            parts = layout.split([_table(part, f"X[{i}]") for i, part in enumerate(X)], y, weights)
            self.n_features_in_ = parts.features[0].shape[1]
            wrong = [part.shape for part in parts.features if part.shape[1] != self.n_features_in_]
            if wrong:
                raise InvalidValueError(
                    f"X: arrays of shape {parts.features[0].shape} and {wrong[0]}: "
                    "expected as many columns in all"
                )
        else:
            X = validate_data(self, X, accept_sparse="csr", dtype=np.float64)
            y = self._column_or_table(y)
            if len(y) != X.shape[0]:
                raise ValueError(f"X has {X.shape[0]} samples and y has {len(y)}: expected as many")
            if weights is not None:
                weights = _check_sample_weight(weights, X, dtype=np.float64, ensure_non_negative=True)
            layout = Shared(1 if y.ndim == 1 else y.shape[1], flat=y.ndim == 1)
            if self.task_column is not None:
                if y.ndim != 1:
                    raise InvalidValueError(f"y of shape {y.shape}: expected (n,) with task_column")
                layout = Labelled(self.task_column)
            parts = layout.split(X, y, weights)
        targets = parts.targets or []
        if all(missing(part).all() for part in targets):
            raise InvalidValueError("y: all targets are missing (NaN): expected some")
        return layout, parts._replace(targets=self._encode(targets))

    def _column_or_table(self, y: Any) -> Any:
        """y as an array (n,) or (n, tasks)."""
        raise NotImplementedError

    def _encode(self, targets: list[Any]) -> list[Any]:
        """Targets as numbers that the loss takes."""
        raise NotImplementedError

    def _couple(self, parts: Parts) -> Tasks:
        weights = parts.weights or [None] * len(parts.tasks)
        return together(
            [
                make_task(features, targets, self.loss, weights=weight, fit_intercept=self.fit_intercept)
                for features, targets, weight in zip(
                    parts.features, parts.targets or [], weights, strict=True
                )
            ]
        )

    def _coupling(self, parts: Parts) -> Regularizer:
        return Regularizer.of(self.regularizer).over([_name(task) for task in parts.tasks])

    def _solve(self, tasks: Tasks, parts: Parts, rho: float, start: Solution | None) -> Solution:
        return solve(
            tasks,
            self._coupling(parts),
            rho,
            Algorithm.of(self.algorithm),
            tolerance=self.tol,
            max_rounds=self.max_iter,
            start=start,
        )

    def _finish(self, layout: Layout, parts: Parts, tasks: Tasks, solution: Solution) -> None:
        self._layout, self.tasks_ = layout, list(parts.tasks)
        self.coef_ = np.ascontiguousarray(solution.models.T)
        self.intercept_ = tasks.intercepts(solution.models)
        self.objective_, self.dual_gap_ = solution.gap.objective, solution.gap.relative
        self.n_iter_ = solution.rounds
        if self.dual_gap_ > self.tol:
            warnings.warn(
                f"the duality gap is {self.dual_gap_:.3g} after {self.n_iter_} rounds, above tol="
                f"{self.tol:.3g}: raise max_iter, or scale the features",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _predictions(self, X: Any) -> tuple[Any, Parts, list[Any]]:
        """X checked, its parts, and for each the linear predictions."""
        check_is_fitted(self)
        if isinstance(self._layout, Separate):
            if not _lists(X):
                raise InvalidValueError("X: expected a list of arrays, one for each task, as in fit")
            X = [_table(part, f"X[{index}]") for index, part in enumerate(X)]
        else:
            X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        parts = self._layout.split(X, None, None)
        position = {task: index for index, task in enumerate(self.tasks_)}
        unknown = [task for task in parts.tasks if task not in position]
        if unknown:
            raise InvalidValueError(f"X: task {unknown[0]!r}: expected one of the {len(position)} in fit")
        rows = [position[task] for task in parts.tasks]
        for part in parts.features:
            if part.shape[1] != self.coef_.shape[1]:
                raise InvalidValueError(f"X: {part.shape[1]} features: expected {self.coef_.shape[1]}")
        pairs = zip(parts.features, rows, strict=True)
        return X, parts, [part @ self.coef_[row] + self.intercept_[row] for part, row in pairs]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags


def missing(targets: Any) -> Any:
    """Which targets are NaN, for targets of any dtype."""
    if targets.dtype.kind == "O":
        return np.asarray(targets != targets, bool)  # NaN alone differs from itself
    return np.isnan(targets) if targets.dtype.kind == "f" else np.zeros(targets.shape, bool)


def _name(task: Any) -> str:
    """A label as a name: 3.0, as it stands in a column of floats, is "3"."""
    return str(int(task)) if isinstance(task, float) and task.is_integer() else str(task)


def _lists(X: Any) -> bool:
    return isinstance(X, (list, tuple)) and bool(X) and all(getattr(part, "ndim", 0) == 2 for part in X)


def _table(part: Any, name: str) -> Any:
    return check_array(part, accept_sparse="csr", dtype=np.float64, ensure_min_samples=0, input_name=name)
