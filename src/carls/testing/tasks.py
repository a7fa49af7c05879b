"""Task nodes whose answers are worked out by hand, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carls.messages import Evidence, Pull, Pushed
from carls.specs import Profile

Vector = npt.NDArray[np.float64]


class PlainTask:
    """l(x) = curvature/2 |x - target|^2.

    Args:
        target: (dim,).
        curvature: > 0.

    Attributes:
        profile: with which it joins.
    """

    def __init__(self, target: npt.ArrayLike, curvature: float = 1.0) -> None:
        self.target, self.curvature = np.array(target, float), curvature
        self.profile = Profile(float(np.linalg.norm(self.target)), curvature)

    def answer(self, pull: Pull, *, implicit: bool) -> tuple[Vector, Evidence]:
        """The correction and the evidence that answer a pull, of an algorithm that is implicit or not."""
        center = 2 * pull.model - pull.column
        x = (self.curvature * self.target + pull.mu * center) / (self.curvature + pull.mu)
        x = x if implicit else pull.model
        y = self.curvature * (x - self.target)
        loss = self.curvature / 2 * float(np.sum((x - self.target) ** 2))
        evidence = Evidence(loss, float(y @ y) / (2 * self.curvature), float(y @ self.target))
        return pull.model - pull.column - y / pull.mu, evidence


def plain_tasks(count: int, dim: int, seed: int = 0) -> dict[str, PlainTask]:
    """Tasks t0, t1, ... with targets drawn by the seed and curvatures 1, 2, ..."""
    random = np.random.default_rng(seed)
    return {f"t{k}": PlainTask(random.standard_normal(dim) * 3, 1.0 + k) for k in range(count)}


def turn(table: Any, name: str, node: PlainTask) -> Pushed:
    """One pull of a table or a matrix, and the push that answers it."""
    pull = table.pull(name)
    assert pull is not None
    outcome: Pushed = table.push(name, pull.sequence, *node.answer(pull, implicit=table.algorithm.implicit))
    return outcome
