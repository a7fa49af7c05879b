"""A task: a loss on private samples, as a function of the model vector alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from carls.bank.gap import Evidence
from carls.bank.task_pulls import Pull
from carls.mtl.losses import Vector
from carls.specs.algorithms import Algorithm, Profile


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A task at a point x.

    Attributes:
        gradient: of the loss, (dim,).
        evidence: what the bank may know.
        intercept: the best one for this x; 0 where the task has none.
    """

    gradient: Vector
    evidence: Evidence
    intercept: float


class Task(ABC):
    """l of the problem: convex, smooth, at least 0. Subclass it for a loss of any other form.

    An intercept is part of the loss: l(x) is the smallest over all intercepts, so it is not
    penalised and never leaves the node.

    Attributes:
        dim: elements of the model vector.
    """

    dim: int

    @abstractmethod
    def profile(self) -> Profile:
        """What the bank needs to know once."""

    @abstractmethod
    def evaluate(self, point: Vector) -> Evaluation:
        """Loss, gradient and evidence at a point (dim,)."""

    @abstractmethod
    def proximal(self, center: Vector, mu: float) -> Vector:
        """argmin over x of l(x) + mu/2 |x - center|^2, (dim,)."""

    def answer(self, pull: Pull, algorithm: Algorithm) -> tuple[Vector, Evidence]:
        """The correction and the evidence that answer a pull.

        Where `proximal` is not exact its gradient still is, and the correction is made from that:
        what is left of the error is within the gap that the bank reports.
        """
        point = pull.model
        if algorithm.implicit:
            point = self.proximal(2 * pull.model - pull.column, pull.mu)
        found = self.evaluate(point)
        return pull.model - pull.column - found.gradient / pull.mu, found.evidence

    def predict(self, features: Vector, model: Vector) -> Vector:
        """Predictions (n,) of features (n, dim) by a model and its intercept."""
        return np.asarray(features @ model, np.float64) + self.evaluate(model).intercept
