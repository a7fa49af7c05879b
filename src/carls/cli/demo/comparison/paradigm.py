"""Paradigm: a way of learning that needs makers, as the comparison sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from carls.cli.demo.comparison.knowledge import Knowledge
from carls.cli.demo.comparison.plan import R, Way
from carls.cli.demo.comparison.run import Run
from carls.client import Bank

P = TypeVar("P")
K = TypeVar("K", bound=Knowledge)


class Paradigm(ABC, Generic[P, R, K]):
    """A problem, what is made for it, and a training loop that uses it.

    Attributes:
        name: of the demo, such as "noisy-labels"; part of the names of its tables.
        score: what is measured in percent on test data, such as "accuracy".
        baseline: what the case without a bank does, in a few words.
    """

    name: ClassVar[str]
    score: ClassVar[str]
    baseline: ClassVar[str]

    @abstractmethod
    def problem(self, seed: int) -> P:
        """The problem of a seed."""

    @abstractmethod
    def steps(self, problem: P, recipe: R) -> int:
        """Training steps of a run."""

    @abstractmethod
    def knowledge(self, way: Way, bank: Bank, table: str, problem: P, recipe: R) -> K:
        """Open tables for a run, whose names begin with `table`, and start what makes them."""

    @abstractmethod
    def train(
        self, problem: P, recipe: R, seed: int, knowledge: K | None, advance: Callable[[], None]
    ) -> Run:
        """Train a model, with what is known or without, and test it on the way.

        Tests are made in the end, on copies, so that a maker gains no time by them.

        Args:
            seed: of the first weights and of all draws.
            advance: called after each step.
        """
