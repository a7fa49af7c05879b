"""Regression of many related tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array

from carls.mtl.estimator import MultiTaskEstimator, missing
from carls.mtl.layouts import Shared


class MultiTaskRegressor(RegressorMixin, MultiTaskEstimator):  # type: ignore[misc]
    """Minimises  sum_t sum_i 1/2 (w_t' x_ti + b_t - y_ti)^2 + rho * g(W), to a certified gap.

    Args:
        regularizer: g: "nuclear", "l21", "l1", "ridge", "elastic_net", "mean", or an object such as
            `Graph(R)` or `Sum([(1, "nuclear"), (0.1, "ridge")])`.
        rho: weight of the regularizer, > 0. Losses are sums over samples here, not means.
        loss: "least_squares", or a function of (predictions, targets) that returns (values,
            derivatives), convex and at least 0.
        fit_intercept: whether each task has an intercept b_t, which is not penalised.
        algorithm: "douglas_rachford" or "forward_backward", or such an object.
        task_column: the number of the column of X that holds the task's label; None: X and y are
            lists of arrays, one for each task, or all tasks share X.
        tol: largest relative duality gap, (objective - lower bound) / objective.
        max_iter: most rounds, in each of which every task is solved once.

    Attributes:
        coef_: (tasks, dim).
        intercept_: (tasks,).
        objective_: at `coef_`.
        dual_gap_: the relative duality gap: the optimum is at least (1 - dual_gap_) * objective_.
            Where "mean" and "graph" leave models that cost nothing, that holds among models with
            at most 10 times the norm of the tasks' own ridge solutions.
        n_iter_: rounds.
        tasks_: the tasks' labels, in the order of `coef_`.
        n_features_in_: columns of X.
    """

    def __init__(
        self,
        regularizer: Any = "nuclear",
        rho: float = 1.0,
        *,
        loss: Any = "least_squares",
        fit_intercept: bool = True,
        algorithm: Any = "douglas_rachford",
        task_column: int | None = None,
        tol: float = 1e-6,
        max_iter: int = 10_000,
    ) -> None:
        self.regularizer = regularizer
        self.rho = rho
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.algorithm = algorithm
        self.task_column = task_column
        self.tol = tol
        self.max_iter = max_iter

    def predict(self, X: Any) -> Any:
        """Predictions, laid out as in `fit`: a list of arrays, (n,), or (n, tasks)."""
        X, parts, predictions = self._predictions(X)
        return self._layout.assemble(X, parts, predictions)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 of the predictions: of all samples together, or if tasks share X the mean over those that have
        targets."""
        predicted = self.predict(X)
        if isinstance(self._layout, Shared):
            pairs = list(
                zip(
                    np.asarray(y).reshape(len(predicted), -1).T,
                    predicted.reshape(len(predicted), -1).T,
                    strict=True,
                )
            )
            return float(np.mean([_r2(*pair, sample_weight) for pair in pairs if not missing(pair[0]).all()]))
        if isinstance(predicted, list):
            y, predicted = np.concatenate(y), np.concatenate(predicted)
            sample_weight = None if sample_weight is None else np.concatenate(sample_weight)
        return _r2(y, predicted, sample_weight)

    def _column_or_table(self, y: Any) -> Any:
        return check_array(
            y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y"
        )

    def _encode(self, targets: list[Any]) -> list[Any]:
        return targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _r2(y: Any, predicted: Any, weights: Any) -> float:
    known = ~np.isnan(np.asarray(y, np.float64))
    weights = None if weights is None else np.asarray(weights)[known]
    return float(r2_score(np.asarray(y)[known], predicted[known], sample_weight=weights))
