"""Regression of many related tasks, with the regularizer's weight chosen by cross-validation."""

from __future__ import annotations

from typing import Any

from carls.mtl.path import RhoPath
from carls.mtl.regressor import MultiTaskRegressor


class MultiTaskRegressorCV(RhoPath, MultiTaskRegressor):
    """`MultiTaskRegressor` that chooses rho by cross-validation within the training samples.

    Args:
        regularizer, loss, fit_intercept, algorithm, task_column, tol, max_iter: as there.
        rhos: values to choose from; or how many, from the smallest that makes all models 0 down to a
            thousandth of it (from a guess, for quadratic regularizers: better give values).
        cv: folds; each task's samples are parted into them.
        n_jobs: folds fitted at once, as in joblib.
        random_state: of the shuffle before the samples are parted.

    Attributes:
        rho_: the one chosen.
        rhos_: (rhos,), largest first.
        loss_path_: mean loss on the held-out samples, (rhos, cv).
        coef_, intercept_, objective_, dual_gap_, n_iter_, tasks_, n_features_in_: as there.
    """

    rho = 1.0

    def __init__(
        self,
        regularizer: Any = "nuclear",
        rhos: Any = 10,
        *,
        cv: int = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
        loss: Any = "least_squares",
        fit_intercept: bool = True,
        algorithm: Any = "douglas_rachford",
        task_column: int | None = None,
        tol: float = 1e-6,
        max_iter: int = 10_000,
    ) -> None:
        self.regularizer = regularizer
        self.rhos = rhos
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.loss = loss
        self.fit_intercept = fit_intercept
        self.algorithm = algorithm
        self.task_column = task_column
        self.tol = tol
        self.max_iter = max_iter
