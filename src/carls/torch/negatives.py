"""Negatives: with which of the bank's rows a contrastive loss compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from carls.keys import Int64s
from carls.specs.policies import Policy, resolve


@dataclass(frozen=True)
class Negatives(Policy):
    """Base of the choices of negatives."""

    home: ClassVar[str] = "carls.torch"

    @staticmethod
    def of(value: Any) -> Negatives:
        """The choice itself, or the one named or described by `value`."""
        return resolve(value, Negatives, _CHOICES)

    def rows(self, count: int, step: int) -> Int64s | None:  # noqa: ARG002 - for others to use
        """Which of `count` rows all examples of the step are compared with, (c,) int64; None: all."""
        return None

    def hardest(self, scores: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG002
        """Which of the compared rows count for each query by their scores (n, c), (n, k) int64; None: all."""
        return None


@dataclass(frozen=True)
class WholeBank(Negatives):
    """All rows: the fullest comparison, and the dearest softmax."""

    name: ClassVar[str] = "whole_bank"


@dataclass(frozen=True)
class Hardest(Negatives):
    """For each query the `k` rows that score highest: all are scored, the softmax is over k.

    Hard negatives are often mistaken for such: items that would be right too. Give those in `groups`.
    """

    name: ClassVar[str] = "hardest"
    k: float = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.k >= 1 and self.k == int(self.k), "k", "an integer >= 1")

    def hardest(self, scores: torch.Tensor) -> torch.Tensor | None:
        if self.k >= scores.shape[1]:
            return None
        return scores.topk(int(self.k), dim=1, sorted=False).indices


@dataclass(frozen=True)
class Sampled(Negatives):
    """`n` rows drawn evenly, other ones at each step, the same for all examples of a batch."""

    name: ClassVar[str] = "sampled"
    n: float = 1024
    seed: float = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.n >= 1 and self.n == int(self.n), "n", "an integer >= 1")
        self.require(self.seed >= 0 and self.seed == int(self.seed), "seed", "an integer >= 0")

    def rows(self, count: int, step: int) -> Int64s | None:
        if self.n >= count:
            return None
        draw = np.random.default_rng([int(self.seed), max(step, 0)])
        return draw.choice(count, int(self.n), replace=False)


_CHOICES: dict[str, type[Negatives]] = {policy.name: policy for policy in (WholeBank, Hardest, Sampled)}
