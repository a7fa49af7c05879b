"""What a task matrix keeps of each task, and the checks of what nodes say."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carls.errors import InvalidValueError
from carls.messages import Epoch, Evidence, Pull, Pushed
from carls.specs.algorithms import Profile
from carls.specs.regularizer import Matrix

__all__ = [
    "LARGEST",
    "Epoch",
    "Evidence",
    "Member",
    "Pull",
    "Pushed",
    "Read",
    "check_answer",
    "check_last",
    "check_profile",
    "check_vector",
]

#: Numbers of nodes are at most this in size: products and squares of larger ones may become infinite.
LARGEST = 1e30


class Read(NamedTuple):
    """What a pull gave, and when: pushes applied before it, seconds."""

    model: Matrix
    column: Matrix
    mu: float
    updates: int
    at: float


@dataclass(eq=False)
class Member:
    """A task that is there.

    Attributes:
        profile: what it told when it joined.
        node: that answers for it.
        producer: of that node.
        seen: seconds on the matrix's clock when it last joined, pulled or pushed.
        updates: its pushes that were applied.
        answered: the last pull whose push moved its column.
        pushed: whether it has pushed in this epoch.
        behind: pushes of others between the last answered pull and its push.
        reads: its pulls that may be answered.
        delays: seconds of its last pushes.
    """

    profile: Profile
    node: str
    producer: str
    seen: float
    updates: int = 0
    answered: int = -1
    pushed: bool = False
    behind: int = -1
    reads: dict[int, Read] = field(default_factory=dict)
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=5))


def check_answer(
    task: str, correction: npt.ArrayLike, evidence: Evidence, dim: int
) -> tuple[Matrix, Evidence]:
    """The correction as (dim,) float64 and the evidence, if they can be.

    Raises:
        InvalidValueError: naming the shape, or the numbers.
    """
    vector = check_vector(task, "correction", correction, dim)
    try:
        scalars = np.asarray(evidence, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"task {task!r}: evidence: expected numbers ({error})") from None
    if scalars.shape != (3,) or not np.all(np.abs(scalars) <= LARGEST):
        raise InvalidValueError(
            f"task {task!r}: {evidence}: expected loss, square and linear, all finite numbers, at most "
            f"{LARGEST:g} in size; nothing was changed"
        )
    return vector, Evidence(*scalars.tolist())


def check_vector(task: str, what: str, values: npt.ArrayLike, dim: int) -> Matrix:
    """`values` as (dim,) float64, if they can be.

    Raises:
        InvalidValueError: naming the shape, or the first element.
    """
    try:
        vector: Matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"task {task!r}: {what}: expected numbers ({error})") from None
    if vector.shape != (dim,):
        raise InvalidValueError(
            f"task {task!r}: {what} of shape {vector.shape}: expected ({dim},); nothing was changed"
        )
    wrong = np.flatnonzero(~(np.abs(vector) <= LARGEST))
    if len(wrong):
        raise InvalidValueError(
            f"task {task!r}: {what} holds {vector[wrong[0]]} at element {wrong[0]}: expected finite numbers, "
            f"at most {LARGEST:g} in size; nothing was changed"
        )
    return vector


def check_profile(task: str, profile: Profile) -> Profile:
    """`profile`, if it can be.

    Raises:
        InvalidValueError: negative numbers, NaN, or an infinite norm.
    """
    norm, lipschitz = profile
    if not (0 <= norm <= LARGEST and (0 <= lipschitz <= LARGEST or lipschitz == math.inf)):
        raise InvalidValueError(
            f"task {task!r}: {profile}: expected a finite ridge_norm >= 0 and lipschitz >= 0, at most "
            f"{LARGEST:g}; an infinite lipschitz is one that nobody knows"
        )
    return profile


def check_last(task: str, last: Pull, dim: int) -> Pull:
    """`last`, if it can be a pull of another matrix of the same dim.

    Raises:
        InvalidValueError: naming the shape or the numbers.
    """
    check_vector(task, "last model", last.model, dim)
    check_vector(task, "last column", last.column, dim)
    if not 1 / LARGEST <= last.mu <= LARGEST:
        raise InvalidValueError(
            f"task {task!r}: last mu={last.mu!r}: expected a number from {1 / LARGEST:g} to {LARGEST:g}"
        )
    return last
