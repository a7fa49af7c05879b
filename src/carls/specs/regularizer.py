"""What all regularizers share: how a matrix of task models is pulled towards simple ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from carls.specs.policies import Policy, resolve

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Regularizer(Policy):
    """Base of the regularizers g of  minimise over W:  sum_t l_t(w_t) + rho * g(W).

    W is (dim, tasks) float64, a column for each task. All are convex, at least 0, 0 at W = 0, and
    g(-W) = g(W). They carry no weight: rho belongs to the table or to the estimator.
    """

    home: ClassVar[str] = "carls.mtl"

    @staticmethod
    def of(value: Any) -> Regularizer:
        """The regularizer itself, or the one named or described by `value`."""
        return resolve(value, Regularizer, CHOICES)

    def value(self, matrix: Matrix) -> float:
        """g of a matrix (dim, tasks)."""
        raise NotImplementedError

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        """The proximal map of `matrix` V (dim, tasks): the W that minimises step * g(W) + 1/2 |W - V|_F^2."""
        raise NotImplementedError

    def conjugate(self, matrix: Matrix, rho: float, radius: float) -> tuple[float, float]:
        """What a duality gap needs: how far `matrix` Y (dim, tasks) may be used as a dual point.

        Returns:
            A scale s, 0 < s <= 1, and a bound of the largest <s * Y, W> - rho * g(W) over all W with
            |W|_F <= `radius`. Only quadratic regularizers that some W costs nothing need the radius;
            the bound of the others holds for all W.
        """
        raise NotImplementedError

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        """A guess of |gradient of g|_F at a (dim, tasks) matrix of Frobenius norm `norm`.

        It scales the steps of `DouglasRachford`, and has no part in the result.
        """
        raise NotImplementedError

    def over(self, tasks: Sequence[str]) -> Regularizer:
        """The regularizer of a matrix whose columns are those `tasks`, in that order."""
        del tasks
        return self


#: All regularizers by name; `carls.specs.regularizers` fills it.
CHOICES: dict[str, type[Regularizer]] = {}
