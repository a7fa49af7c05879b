"""Fits in one place: how the schools are coupled best, and what a school can do without the others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from carls.cli.demo.school.pupils import Floats, Pupils
from carls.cli.demo.school.recipe import COUPLINGS, RIDGES, SchoolRecipe
from carls.mtl import MultiTaskRegressorCV

#: Relative gap of these fits.
TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Fit:
    """Models with the weight that cross-validation chose.

    Attributes:
        name: of the regularizer.
        rho: its weight.
        error: mean squared error on held-out folds of the training part.
        models: a column for each school, (28, schools).
        objective: at the models.
    """

    name: str
    rho: float
    error: float
    models: Floats
    objective: float


def together(train: Pupils, recipe: SchoolRecipe, seed: int) -> list[Fit]:
    """A fit by each coupling, the one with the least error on held-out folds first."""
    fits = [_fit(name, *choices, train, recipe, seed) for name, choices in COUPLINGS.items()]
    return sorted(fits, key=lambda fit: fit.error)


def alone(train: Pupils, recipe: SchoolRecipe, seed: int) -> Fit:
    """Each school by itself: ridge regression, its weight the best one for all schools together."""
    return _fit("ridge", "ridge", RIDGES, train, recipe, seed)


def pooled(train: Pupils, recipe: SchoolRecipe, seed: int) -> Fit:
    """One ridge regression for all pupils."""
    fit = _fit("ridge", "ridge", RIDGES, train.pooled, recipe, seed)
    models = np.repeat(fit.models, len(train.schools), axis=1)
    return Fit(fit.name, fit.rho, fit.error, models, fit.objective)


def _fit(
    name: str, regularizer: Any, rhos: Sequence[float], train: Pupils, recipe: SchoolRecipe, seed: int
) -> Fit:
    # The last feature is the intercept, which is penalised with the others.
    model = MultiTaskRegressorCV(
        regularizer,
        rhos,
        cv=recipe.folds,
        random_state=seed,
        fit_intercept=False,
        tol=TOLERANCE,
        max_iter=500,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(list(train.features), list(train.scores))
    error = 2 * float(model.loss_path_.mean(axis=1).min())
    return Fit(name, model.rho_, error, np.ascontiguousarray(model.coef_.T), model.objective_)
