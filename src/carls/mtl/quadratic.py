"""Least squares on dense samples: one factorisation, reused for every local solve."""

from __future__ import annotations

import numpy as np

from carls.bank.gap import Evidence
from carls.mtl.losses import Vector
from carls.mtl.samples import Samples
from carls.mtl.task import Evaluation, Task
from carls.specs.algorithms import Profile
from carls.specs.regularizer import Matrix


class QuadraticTask(Task):
    """l(x) = 1/2 sum_i weight_i (x' features_i + intercept - target_i)^2.

    The samples are compressed to at most dim rows by a QR factorisation of [features, targets]:
    l(x) = 1/2 |factor x - target|^2 + rest. Its singular values then solve for any mu.

    Args:
        samples: dense.
        intercept: whether it has one.

    Attributes:
        factor: (rows, dim), rows <= dim.
        target: (rows,).
        rest: a number >= 0.
        vectors: right singular vectors of the factor, (rows, dim).
        squares: its squared singular values, (rows,).
        right: vectors @ factor' target, (rows,).
    """

    def __init__(self, samples: Samples, *, intercept: bool = False) -> None:
        self.dim = samples.dim
        total = samples.weights.sum()
        self._center, self._level = np.zeros(self.dim), 0.0
        if intercept and total > 0:
            self._center = samples.weights @ samples.features / total
            self._level = float(samples.weights @ samples.targets / total)
        roots = np.sqrt(samples.weights)[:, None]
        table = np.hstack([samples.features - self._center, samples.targets[:, None] - self._level]) * roots
        compressed: Matrix = np.asarray(np.linalg.qr(table, mode="r")) if len(table) > self.dim else table
        self.factor = compressed[: self.dim, : self.dim]
        self.target = compressed[: self.dim, self.dim]
        self.rest = float(compressed[self.dim :, self.dim] @ compressed[self.dim :, self.dim]) / 2
        left, values, self.vectors = np.linalg.svd(self.factor, full_matrices=False)
        self.squares = values**2
        self.right = values * (left.T @ self.target)

    def profile(self) -> Profile:
        ridge = 0.01 * float(self.squares.sum()) / self.dim
        if ridge == 0:
            return Profile(0.0, 0.0)
        return Profile(float(np.linalg.norm(self.right / (self.squares + ridge))), float(self.squares.max()))

    def evaluate(self, point: Vector) -> Evaluation:
        residual = self.factor @ point - self.target
        square = float(residual @ residual) / 2 + self.rest
        return Evaluation(
            self.factor.T @ residual,
            Evidence(square, square, float(residual @ self.target) - 2 * self.rest),
            self.intercept(point),
        )

    def intercept(self, point: Vector) -> float:
        """The best intercept at a point."""
        return self._level - float(self._center @ point)

    def proximal(self, center: Vector, mu: float) -> Vector:
        # The form center + ... loses no digits where mu is far below the squares.
        change = (self.right - self.squares * (self.vectors @ center)) / (self.squares + mu)
        found: Vector = center + change @ self.vectors
        return found
