"""Initializers: the first value of a row, a function of the table's seed and the row's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from carls.specs.policies import LARGEST_FLOAT32, Policy, resolve


@dataclass(frozen=True)
class Initializer(Policy):
    """Base of the initializers. docs/initial-values.md fixes the exact numbers."""

    @staticmethod
    def of(value: Any) -> Initializer:
        """The initializer itself, or the one named or described by `value`."""
        return resolve(value, Initializer, _CHOICES)

    @property
    def largest(self) -> float:
        """A bound of its values' size."""
        return 0.0


@dataclass(frozen=True)
class Zeros(Initializer):
    """All elements 0."""

    name: ClassVar[str] = "zeros"


@dataclass(frozen=True)
class Constant(Initializer):
    """All elements `value`."""

    name: ClassVar[str] = "constant"
    value: float = 0.0

    @property
    def largest(self) -> float:
        return abs(self.value)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Elements drawn evenly between `low` and `high`."""

    name: ClassVar[str] = "uniform"
    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.low <= self.high, "low", f"low <= high (high is {self.high})")

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Normal(Initializer):
    """Elements drawn from the normal distribution with deviation `std` around `mean`."""

    name: ClassVar[str] = "normal"
    std: float = 0.05
    mean: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.std >= 0, "std", "std >= 0")
        self.require(self.largest <= LARGEST_FLOAT32, "std", "one that float32 can hold")

    @property
    def largest(self) -> float:
        # No draw is farther than 9 deviations from the mean.
        return abs(self.mean) + 9 * self.std


_CHOICES: dict[str, type[Initializer]] = {
    policy.name: policy for policy in (Zeros, Constant, Uniform, Normal)
}
