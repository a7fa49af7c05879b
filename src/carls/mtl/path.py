"""Cross-validation over a path of rho."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.utils import check_random_state

from carls.errors import InvalidSpecError
from carls.mtl.coupled import Tasks
from carls.mtl.estimator import MultiTaskEstimator
from carls.mtl.layouts import Parts
from carls.mtl.losses import Loss
from carls.mtl.solver import Solution
from carls.specs.regularizer import Matrix, Regularizer

#: From the largest rho of a path that is not given to the smallest.
SPAN = 1e-3


class RhoPath(MultiTaskEstimator):
    """Base of the estimators that choose rho: largest first, each fit started from the last."""

    rhos: Any
    cv: int
    n_jobs: int | None
    random_state: Any

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Choose rho by the loss on held-out samples, then fit all samples with it.

        Args:
            X, y, sample_weight: as in the estimator without CV. Each task's own samples are parted
                into the folds.
        """
        layout, parts = self._gather(X, y, sample_weight)
        tasks = self._couple(parts)
        rhos = self._rhos(tasks, self._coupling(parts))
        losses = Parallel(n_jobs=self.n_jobs)(
            delayed(_fold)(clone(self), training, held, rhos) for training, held in self._folds(parts)
        )
        self.rhos_ = rhos
        self.loss_path_ = np.array(losses).T
        best = int(np.argmin(self.loss_path_.mean(axis=1)))
        self.rho_ = float(rhos[best])
        solution: Solution | None = None
        for rho in rhos[: best + 1]:
            solution = self._solve(tasks, parts, float(rho), solution)
        assert solution is not None
        self._finish(layout, parts, tasks, solution)
        return self

    def _rhos(self, tasks: Tasks, coupling: Regularizer) -> Matrix:
        if isinstance(self.rhos, (int, np.integer)):
            if self.rhos < 1:
                raise InvalidSpecError(f"rhos={self.rhos!r}: expected at least 1, or a list of numbers > 0")
            return largest_rho(tasks, coupling) * np.geomspace(1, SPAN, int(self.rhos))
        try:
            given: Matrix = np.array(self.rhos, np.float64)
        except (TypeError, ValueError):
            given = np.zeros(0)
        if given.ndim != 1 or not given.size or not (np.isfinite(given) & (given > 0)).all():
            raise InvalidSpecError(
                f"rhos={self.rhos!r:.60}: expected how many, or a list of finite numbers > 0"
            )
        return np.sort(given)[::-1]

    def _folds(self, parts: Parts) -> list[tuple[Parts, Parts]]:
        """Training and held-out samples of each fold."""
        if not isinstance(self.cv, (int, np.integer)) or self.cv < 2:
            raise InvalidSpecError(f"cv={self.cv!r}: expected a number of folds >= 2")
        folder = KFold(int(self.cv), shuffle=True, random_state=check_random_state(self.random_state))
        splits = []
        for features in parts.features:
            count = features.shape[0]
            rows = np.arange(count)
            # A task of fewer samples than folds has each of them held out once; a single one never is.
            held = [rows[k : k + 1] if count > 1 else rows[:0] for k in range(int(self.cv))]
            alone = [(np.setdiff1d(rows, part), part) for part in held]
            splits.append(list(folder.split(rows)) if count >= self.cv else alone)
        return [
            (_rows(parts, [split[k][0] for split in splits]), _rows(parts, [split[k][1] for split in splits]))
            for k in range(int(self.cv))
        ]


def largest_rho(tasks: Tasks, coupling: Regularizer) -> float:
    """Where a path may begin: the smallest rho that makes all models 0, if the regularizer is a norm;
    otherwise one that outweighs the losses' slope at 0."""
    gradients, _ = tasks.evaluate(np.zeros(tasks.shape))
    size = float(np.linalg.norm(gradients))
    if size == 0:
        return 1.0
    scale, _ = coupling.conjugate(gradients / size, 1e-6, 0.0)
    if scale < 1:
        return 1e-6 / scale * size
    norm = float(np.sqrt(sum(profile.ridge_norm**2 for profile in tasks.profiles))) or 1.0
    return size / max(coupling.slope(norm, *tasks.shape), 1e-300)


def _rows(parts: Parts, rows: Sequence[Any]) -> Parts:
    def chosen(arrays: list[Any] | None) -> list[Any] | None:
        return None if arrays is None else [array[row] for array, row in zip(arrays, rows, strict=True)]

    return Parts(parts.tasks, chosen(parts.features) or [], chosen(parts.targets), chosen(parts.weights))


def _fold(estimator: RhoPath, training: Parts, held: Parts, rhos: Matrix) -> list[float]:
    """The mean loss on held-out samples, for each rho."""
    tasks, loss = estimator._couple(training), Loss.of(estimator.loss)
    found, solution = [], None
    for rho in rhos:
        solution = estimator._solve(tasks, training, float(rho), solution)
        intercepts = tasks.intercepts(solution.models)
        total = count = 0.0
        for index, (features, targets) in enumerate(zip(held.features, held.targets or [], strict=True)):
            known = ~np.isnan(targets)
            weights = np.ones(int(known.sum())) if held.weights is None else held.weights[index][known]
            predictions = features[known] @ solution.models[:, index] + intercepts[index]
            total += float(weights @ loss.evaluate(predictions, targets[known])[0])
            count += float(weights.sum())
        found.append(total / count if count else 0.0)
    return found
