"""Optimizers: how a pushed gradient changes a row, inside the bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from carls.specs.policies import SMALLEST_FLOAT32, Policy, resolve


@dataclass(frozen=True)
class Optimizer(Policy):
    """Base of the optimizers."""

    @staticmethod
    def of(value: Any) -> Optimizer:
        """The optimizer itself, or the one named or described by `value`."""
        return resolve(value, Optimizer, _CHOICES)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: value -= lr * grad."""

    name: ClassVar[str] = "sgd"
    lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.lr >= 0, "lr", "lr >= 0")


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan, Singer 2011), as `torch.optim.Adagrad` without decay:

    sum += grad^2; value -= lr * grad / (sqrt(sum) + eps); sum starts at `initial_accumulator`.
    """

    name: ClassVar[str] = "adagrad"
    lr: float = 0.1
    initial_accumulator: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.lr >= 0, "lr", "lr >= 0")
        self.require(self.initial_accumulator >= 0, "initial_accumulator", "a number >= 0")
        self.require(self.eps >= SMALLEST_FLOAT32, "eps", f"at least {SMALLEST_FLOAT32:.4g}")


_CHOICES: dict[str, type[Optimizer]] = {policy.name: policy for policy in (SGD, Adagrad)}
