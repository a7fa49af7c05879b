"""Intervals: how many of a trainer's steps a maker lets pass between the checkpoints that it works from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from carls.specs.policies import Policy, resolve

Tensors: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Interval(Policy):
    """Base of the intervals."""

    home: ClassVar[str] = "carls.makers"

    @staticmethod
    def of(value: Any) -> Interval:
        """The interval itself, or the one named or described by `value`."""
        return resolve(value, Interval, _CHOICES)  # type: ignore[type-abstract]

    @abstractmethod
    def after(self, steps: int, before: Tensors, now: Tensors) -> int:
        """The next interval, in steps, >= 1.

        Args:
            steps: the interval so far; 1 at first.
            before, now: tensors of the last two checkpoints that the maker worked from.
        """


@dataclass(frozen=True)
class EveryCheckpoint(Interval):
    """No interval: whenever the maker has made all, it takes the newest checkpoint."""

    name: ClassVar[str] = "none"

    def after(self, steps: int, before: Tensors, now: Tensors) -> int:  # noqa: ARG002
        return 1


@dataclass(frozen=True)
class Stretching(Interval):
    """An interval that grows while the model settles, and shrinks when it moves again.

    With c = |now - before| / |before|, Euclidean norms over all floating-point tensors of two checkpoints
    that the maker worked from one after the other, the interval becomes

        min(longest, factor * steps)    where c < change
        max(1, steps / factor)          elsewhere (rounded down)

    so that makers work about once for each `change` of the model. What has another name or shape than before,
    or is no number, counts as a change. Trainers with a `carls.DriftLimit` need `longest`, and the steps
    between two checkpoints, to be within their limit: a maker that lets a checkpoint pass announces nothing.

    Args:
        change: above 0.
        factor: above 1.
        longest: interval, in steps, >= 1.
    """

    name: ClassVar[str] = "stretching"
    change: float = 0.01
    factor: float = 2.0
    longest: float = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.change > 0, "change", "a number above 0")
        self.require(self.factor > 1, "factor", "a number above 1")
        self.require(self.longest >= 1 and self.longest == int(self.longest), "longest", "an integer >= 1")

    def after(self, steps: int, before: Tensors, now: Tensors) -> int:
        if relative_change(before, now) < self.change:
            return int(min(self.longest, max(steps + 1, steps * self.factor)))
        return int(max(1, steps / self.factor))


def relative_change(before: Tensors, now: Tensors) -> float:
    """|now - before| / |before| over all floating-point tensors; infinity where they cannot be compared."""
    if {name: tensor.shape for name, tensor in before.items()} != {n: t.shape for n, t in now.items()}:
        return math.inf
    moved = norm = 0.0
    for name, old in before.items():
        if old.dtype.kind != "f":
            continue
        wide = old.astype(np.float64)
        moved += float(np.sum((now[name] - wide) ** 2))
        norm += float(np.sum(wide**2))
    if moved == 0:
        return 0.0
    change = math.sqrt(moved / norm) if norm > 0 else math.inf
    return change if math.isfinite(change) else math.inf


_CHOICES: dict[str, type[Interval]] = {policy.name: policy for policy in (EveryCheckpoint, Stretching)}
