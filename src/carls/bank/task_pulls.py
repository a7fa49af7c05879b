"""What a task matrix and its nodes say to each other, and what it keeps of each task."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from carls.bank.gap import Gap
from carls.specs.algorithms import Profile
from carls.specs.regularizer import Matrix


@dataclass(frozen=True, eq=False)
class Pull:
    """What a node works on.

    Attributes:
        sequence: of this pull, never used again; the push that answers it carries it.
        mu: of the algorithm.
        model: w, the task's column of the proximal map, (dim,) float64.
        column: v, the task's column of V, (dim,) float64.
    """

    sequence: int
    mu: float
    model: Matrix
    column: Matrix


class Pushed(Enum):
    """What became of a push."""

    APPLIED = "applied"
    #: Its pull was answered before: a repeated message, or another answer to the same column.
    DUPLICATE = "duplicate"
    #: Its pull is not known any more: the task left since, or has pulled often. Pull again.
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Epoch:
    """The state when all tasks had pushed once more.

    Attributes:
        at: seconds on the matrix's clock.
        updates: pushes applied since the matrix was made.
        gap: of the points that the nodes evaluated last.
        guard: 1, or less where steps were halved.
        longest_delay: pushes between a pull and its push, the most so far.
    """

    at: float
    updates: int
    gap: Gap
    guard: float
    longest_delay: int


class Read(NamedTuple):
    """What a pull gave, and when: pushes applied before it, seconds."""

    model: Matrix
    column: Matrix
    mu: float
    updates: int
    at: float


@dataclass(eq=False)
class Member:
    """A task that is there; `answered` is the last pull whose push moved its column."""

    profile: Profile
    updates: int = 0
    answered: int = -1
    pushed: bool = False
    reads: dict[int, Read] = field(default_factory=dict)
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=5))
