"""Classification, two classes, of many related tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from carls.mtl.estimator import MultiTaskEstimator, missing
from carls.mtl.losses import Logistic, Loss


def _has_probabilities(estimator: MultiTaskClassifier) -> bool:
    return isinstance(Loss.of(estimator.loss), Logistic)


class MultiTaskClassifier(ClassifierMixin, MultiTaskEstimator):  # type: ignore[misc]
    """Minimises  sum_t mean_i loss(w_t' x_ti + b_t, y_ti) + rho * g(W), to a certified gap.

    All tasks have the same two classes. The mean is over the task's samples, so each task counts the
    same however many samples it has.

    Args:
        regularizer: g: "nuclear", "l21", "l1", "ridge", "elastic_net", "mean", or an object such as
            `Graph(R)` or `Sum([(1, "nuclear"), (0.1, "ridge")])`.
        rho: weight of the regularizer, > 0.
        loss: "logistic", "squared_hinge", or a function of (predictions, targets -1 and 1) that
            returns (values, derivatives), convex and at least 0.
        fit_intercept: whether each task has an intercept b_t, which is not penalised.
        algorithm: "douglas_rachford" or "forward_backward", or such an object.
        task_column: the number of the column of X that holds the task's label; None: X and y are
            lists of arrays, one for each task, or all tasks share X.
        tol: largest relative duality gap, (objective - lower bound) / objective.
        max_iter: most rounds, in each of which every task is solved once.

    Attributes:
        classes_: the two classes; decisions above 0 are for the second.
        coef_: (tasks, dim).
        intercept_: (tasks,).
        objective_: at `coef_`.
        dual_gap_: the relative duality gap, as in `MultiTaskRegressor`.
        n_iter_: rounds.
        tasks_: the tasks' labels, in the order of `coef_`.
        n_features_in_: columns of X.
    """

    def __init__(
        self,
        regularizer: Any = "nuclear",
        rho: float = 0.1,
        *,
        loss: Any = "logistic",
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

    def decision_function(self, X: Any) -> Any:
        """w_t' x + b_t, laid out as in `fit`: a list of arrays, (n,), or (n, tasks)."""
        X, parts, predictions = self._predictions(X)
        return self._layout.assemble(X, parts, predictions)

    def predict(self, X: Any) -> Any:
        """Classes, laid out as in `fit`."""
        X, parts, predictions = self._predictions(X)
        chosen = [self.classes_[(part > 0).astype(np.intp)] for part in predictions]
        return self._layout.assemble(X, parts, chosen)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Probabilities of both classes, (n, 2); a list of such arrays, one for each task, if X is one
        or if tasks share X."""
        decisions = self.decision_function(X)
        if not isinstance(decisions, list) and decisions.ndim == 2:
            decisions = list(decisions.T)
        if isinstance(decisions, list):
            return [_probabilities(part) for part in decisions]
        return _probabilities(decisions)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of all samples that is predicted right."""
        predicted = self.predict(X)
        if isinstance(predicted, list):
            y, predicted = np.concatenate(y), np.concatenate(predicted)
            sample_weight = None if sample_weight is None else np.concatenate(sample_weight)
        y = np.asarray(y).reshape(np.shape(predicted))
        known = ~missing(y)
        right = (y == predicted)[known]
        if sample_weight is None:
            return float(np.mean(right))
        weights = np.asarray(sample_weight)
        weights = weights if weights.ndim == y.ndim else np.repeat(weights[:, None], y.shape[1], axis=1)
        return float(np.average(right, weights=weights[known]))

    def _column_or_table(self, y: Any) -> Any:
        table = np.asarray(y)
        if table.ndim not in (1, 2):
            raise ValueError(f"y of shape {table.shape}: expected (n,) or (n, tasks)")
        return column_or_1d(table, warn=True) if table.ndim == 2 and table.shape[1] == 1 else table

    def _encode(self, targets: list[Any]) -> list[Any]:
        known = np.concatenate([part[~missing(part)] for part in targets])
        if known.dtype.kind == "f" and not np.isfinite(known).all():
            raise ValueError("Input y contains infinity: expected classes")
        check_classification_targets(known)
        classes = np.unique(known)
        if len(classes) > 2:
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {type_of_target(known)}."
            )
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class: expected two classes among all tasks")
        self.classes_ = classes
        return [np.where(missing(part), np.nan, np.where(part == classes[1], 1.0, -1.0)) for part in targets]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _probabilities(decisions: Any) -> Any:
    return np.exp(-np.logaddexp(0, np.stack([decisions, -decisions], axis=1)))
