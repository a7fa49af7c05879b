"""A small problem whose optimum is known by a fit of the pooled data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.mtl import MultiTaskRegressor
from carls.specs import Regularizer


@dataclass(frozen=True, eq=False)
class Problem:
    """Least squares tasks, X (n, dim) and y (n,) each, coupled by rho * g."""

    X: list[Any]
    y: list[Any]
    first: int = 0
    regularizer: Any = "nuclear"
    rho: float = 10.0

    @staticmethod
    def random(tasks: int = 3, dim: int = 5, seed: int = 0) -> Problem:
        """Models of rank 2 and noise."""
        random = np.random.default_rng(seed)
        models = random.standard_normal((dim, 2)) @ random.standard_normal((2, tasks))
        X = [random.standard_normal((20 + task, dim)) for task in range(tasks)]
        return Problem(X, [x @ w + random.standard_normal(len(x)) for x, w in zip(X, models.T, strict=True)])

    @property
    def names(self) -> list[str]:
        """Of the tasks: t0, t1, ..., from `first` on."""
        return [f"t{self.first + index}" for index in range(len(self.X))]

    @property
    def dim(self) -> int:
        return int(self.X[0].shape[1])

    def open(self, bank: Any, name: str = "table", **options: Any) -> Any:
        """The table of this problem."""
        return bank.tasks(name, self.dim, self.regularizer, self.rho, **options)

    def check_table(self, table: Any, relative: float = 1e-6) -> None:
        """As `check`, for what anybody may read from the table."""
        models = table.models()
        assert sorted(models.tasks) == sorted(self.names)
        self.check([models.of(name) for name in self.names], relative)

    def objective(self, models: Any) -> float:
        """Of models, a row for each task; written down once more."""
        losses = [np.sum((x @ w - y) ** 2) / 2 for x, y, w in zip(self.X, self.y, models, strict=True)]
        return float(sum(losses)) + self.rho * Regularizer.of(self.regularizer).value(np.transpose(models))

    def check(self, models: Any, relative: float = 1e-6) -> None:
        """The models, a row for each task, are those of the optimum, to a relative gap.

        Their distance follows from it, since the losses are strongly convex.
        """
        fitted = MultiTaskRegressor(self.regularizer, self.rho, fit_intercept=False, tol=1e-10).fit(
            self.X, self.y
        )
        distance = self.objective(models) - fitted.objective_ * (1 - fitted.dual_gap_)
        assert distance <= relative * fitted.objective_
        convex = min(np.linalg.eigvalsh(x.T @ x)[0] for x in self.X)
        assert np.linalg.norm(np.asarray(models) - fitted.coef_) <= 1.01 * np.sqrt(
            2 * max(distance, 1e-15) / convex
        ) + np.sqrt(2 * 1e-10 * fitted.objective_ / convex)
