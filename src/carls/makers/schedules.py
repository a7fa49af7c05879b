"""Schedules: which keys a maker makes first."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from carls.keys import Int64s
from carls.specs.policies import Policy, resolve


class Standing(Protocol):
    """What a schedule may ask about the n keys that are due: not made yet from the checkpoint at hand."""

    @property
    def step(self) -> int:
        """Step of the checkpoint at hand."""

    @property
    def made(self) -> Int64s:
        """(n,) step of the checkpoint that each key's rows are from, whoever made them; -1: there are
        none."""

    @property
    def demand(self) -> Int64s:
        """(n,) how often each key was looked up lately, as `table.survey` says it."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Schedule(Policy):
    """Base of the schedules."""

    home: ClassVar[str] = "carls.makers"

    @staticmethod
    def of(value: Any) -> Schedule:
        """The schedule itself, or the one named or described by `value`."""
        return resolve(value, Schedule, _CHOICES)  # type: ignore[type-abstract]

    @abstractmethod
    def choose(self, due: Standing) -> Int64s:
        """Choose the keys to make before the next look for a newer checkpoint.

        Returns:
            (m,) int64 indices of keys that are due, m >= 1, in the order in which to make them.
        """


@dataclass(frozen=True)
class AllKeys(Schedule):
    """All keys, in the order in which they were given."""

    name: ClassVar[str] = "all"

    def choose(self, due: Standing) -> Int64s:
        return np.arange(len(due))


@dataclass(frozen=True)
class _Ordered(Schedule):
    rows: float = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.rows >= 1 and self.rows == int(self.rows), "rows", "an integer >= 1")

    def choose(self, due: Standing) -> Int64s:
        return np.argsort(-self.urgency(due), kind="stable")[: int(self.rows)]

    @abstractmethod
    def urgency(self, due: Standing) -> Any:
        """(n,) numbers: keys with higher ones come first, equal ones in the order in which they were
        given."""


@dataclass(frozen=True)
class StalestFirst(_Ordered):
    """The keys whose rows are of the oldest checkpoints first; after `rows` of them it looks for a newer one.

    For key sets that take longer to walk than a checkpoint stays new.
    """

    name: ClassVar[str] = "stalest"

    def urgency(self, due: Standing) -> Any:
        return due.step - due.made


@dataclass(frozen=True)
class MostRequested(_Ordered):
    """The keys that trainers ask for most first, and more so the older their rows are; after `rows` of them
    it looks for a newer checkpoint.

    A key's urgency is sqrt(1 + demand) * (checkpoint's step - row's step). In the long run the keys that are
    made have equal urgency, so each is made in proportion to sqrt(1 + demand). That makes the mean age of
    rows *as read* least: sum_k d_k / f_k, with sum_k f_k fixed, has its minimum where f_k ~ sqrt(d_k). The 1
    sees to it that keys nobody asked for are made too, seldom.
    """

    name: ClassVar[str] = "requested"

    def urgency(self, due: Standing) -> Any:
        return np.sqrt(1.0 + due.demand) * (due.step - due.made)


_CHOICES: dict[str, type[Schedule]] = {
    policy.name: policy for policy in (AllKeys, StalestFirst, MostRequested)
}
