"""Regularizers that are norms. Their duals are exact: a gap from them is a certificate for all W."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from carls.specs.regularizer import Matrix, Regularizer


@dataclass(frozen=True)
class Norm(Regularizer):
    """Base of the norms."""

    def dual_norm(self, matrix: Matrix) -> float:
        """The largest <Y, W> over all W with g(W) <= 1, for `matrix` Y (dim, tasks)."""
        raise NotImplementedError

    def conjugate(self, matrix: Matrix, rho: float, radius: float) -> tuple[float, float]:
        del radius
        norm = self.dual_norm(matrix)
        return (1.0 if norm <= rho else rho / norm), 0.0

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        del norm
        return math.sqrt(min(dim, tasks))


@dataclass(frozen=True)
class Nuclear(Norm):
    """The sum of singular values: task models that lie in a space of few dimensions.

    Proximal map: singular values are lowered by the step, down to 0 (Cai, Candes, Shen 2010).
    """

    name: ClassVar[str] = "nuclear"

    def value(self, matrix: Matrix) -> float:
        return float(_singular_values(matrix).sum())

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        if not matrix.size:
            return np.array(matrix)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        kept = int(np.count_nonzero(values > step))
        found: Matrix = (left[:, :kept] * (values[:kept] - step)) @ right[:kept]
        return found

    def dual_norm(self, matrix: Matrix) -> float:
        return float(_singular_values(matrix).max(initial=0.0))


@dataclass(frozen=True)
class L21(Norm):
    """The sum of the rows' Euclidean norms: features that all tasks use, or none.

    Proximal map: each row's norm is lowered by the step, down to 0.
    """

    name: ClassVar[str] = "l21"

    def value(self, matrix: Matrix) -> float:
        return float(np.linalg.norm(matrix, axis=1).sum())

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        kept = np.divide(np.maximum(norms - step, 0), norms, out=np.zeros_like(norms), where=norms > step)
        return np.asarray(matrix * kept, np.float64)

    def dual_norm(self, matrix: Matrix) -> float:
        return float(np.linalg.norm(matrix, axis=1).max(initial=0.0))


@dataclass(frozen=True)
class L1(Norm):
    """The sum of absolute values: few features for each task, whatever the others use.

    Proximal map: each element is moved towards 0 by the step.
    """

    name: ClassVar[str] = "l1"

    def value(self, matrix: Matrix) -> float:
        return float(np.abs(matrix).sum())

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        return np.sign(matrix) * np.maximum(np.abs(matrix) - step, 0)

    def dual_norm(self, matrix: Matrix) -> float:
        return float(np.abs(matrix).max(initial=0.0))


@dataclass(frozen=True)
class SparseRows(Norm):
    """l1 * (sum of absolute values) + l21 * (sum of row norms): the sparse group lasso over rows.

    Proximal map: that of l1, then that of l2,1 (Friedman, Hastie, Tibshirani 2010).
    """

    name: ClassVar[str] = "sparse_rows"
    l1: float = 1.0
    l21: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("l1", "l21"):
            self.require(getattr(self, field) > 0, field, "a number > 0; leave the norm out otherwise")

    def value(self, matrix: Matrix) -> float:
        return self.l1 * L1().value(matrix) + self.l21 * L21().value(matrix)

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        return L21().prox(L1().prox(matrix, step * self.l1), step * self.l21)

    def dual_norm(self, matrix: Matrix) -> float:
        """The smallest c such that each row's norm is at most c * l21 after its elements are
        moved towards 0 by c * l1, found by bisection and rounded up."""
        size = np.abs(matrix)
        high = float(size.max(initial=0.0)) / self.l1
        low = 0.0
        while high - low > 4e-16 * high:
            middle = (low + high) / 2
            norms = np.linalg.norm(np.maximum(size - middle * self.l1, 0), axis=1)
            if middle in (low, high):
                break
            low, high = (low, middle) if norms.max() <= middle * self.l21 else (middle, high)
        return high

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        return (self.l1 + self.l21) * super().slope(norm, dim, tasks)


def _singular_values(matrix: Matrix) -> Matrix:
    if not matrix.size:
        return np.zeros(0)
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), np.float64)
