"""Optimizers: how a pushed gradient changes a row, inside the bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from carls.specs.policies import Policy, resolve


@dataclass(frozen=True)
class Optimizer(Policy):
    """Base of the optimizers."""

    #: float32 numbers of optimizer state that each element of a row's value needs.
    state_per_element: ClassVar[int] = 0

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
    state_per_element: ClassVar[int] = 1
    lr: float = 0.1
    initial_accumulator: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.lr >= 0, "lr", "lr >= 0")
        self.require(self.initial_accumulator >= 0, "initial_accumulator", "a number >= 0")
        self.require(self.eps > 0, "eps", "eps > 0")


_CHOICES: dict[str, type[Optimizer]] = {policy.name: policy for policy in (SGD, Adagrad)}
