"""Conjugate gradients, preconditioned by a diagonal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from carls.mtl.losses import Vector


def conjugate_gradients(
    product: Callable[[Vector], Vector],
    right: Vector,
    diagonal: Vector,
    *,
    tolerance: float,
    least: int,
    most: int,
) -> Vector:
    """x with A x = right for a positive definite A, from x = 0 (Hestenes, Stiefel 1952).

    Args:
        product: A times a vector.
        right: (dim,).
        diagonal: about that of A, > 0, (dim,).
        tolerance: stop when |right - A x| <= tolerance * |right|, but not before `least` steps.
        least, most: bounds of the number of steps.
    """
    solution = np.zeros_like(right)
    residual = right.copy()
    scaled = residual / diagonal
    direction = scaled
    energy = float(residual @ scaled)
    start = float(np.linalg.norm(right))
    for step in range(most):
        size = float(np.linalg.norm(residual))
        if size <= 1e-15 * start or (step >= least and size <= tolerance * start):
            break
        image = product(direction)
        length = energy / float(direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        scaled = residual / diagonal
        last, energy = energy, float(residual @ scaled)
        direction = scaled + (energy / last) * direction
    return solution
