"""Schedules: which keys a maker makes for a checkpoint, and in which order."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from carls.keys import Int64s
from carls.specs.policies import Policy, resolve


@dataclass(frozen=True)
class Schedule(Policy):
    """Base of the schedules."""

    @staticmethod
    def of(value: Any) -> Schedule:
        """The schedule itself, or the one named or described by `value`."""
        return resolve(value, Schedule, _CHOICES)  # type: ignore[type-abstract]

    @abstractmethod
    def walk(self, made: Int64s) -> Int64s:
        """Choose the keys to make for the newest checkpoint.

        Args:
            made: (n,) step of the checkpoint from which this runner last made each key; -1: never.

        Returns:
            (m,) int64 indices of keys, in the order in which to make them.
        """


@dataclass(frozen=True)
class AllKeys(Schedule):
    """All keys, in the order in which they were given."""

    name: ClassVar[str] = "all"

    def walk(self, made: Int64s) -> Int64s:
        return np.arange(len(made))


@dataclass(frozen=True)
class StalestFirst(Schedule):
    """Up to `rows` keys for each checkpoint, those made longest ago first; equal ones in order.

    For key sets that take longer to walk than a checkpoint stays new.
    """

    name: ClassVar[str] = "stalest"
    rows: float = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.rows >= 1 and self.rows == int(self.rows), "rows", "an integer >= 1")

    def walk(self, made: Int64s) -> Int64s:
        return np.argsort(made, kind="stable")[: int(self.rows)]


_CHOICES: dict[str, type[Schedule]] = {policy.name: policy for policy in (AllKeys, StalestFirst)}
