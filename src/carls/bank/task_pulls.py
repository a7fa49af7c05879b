"""Checks of what task nodes say, before anything is changed; and the names of what they get."""

from __future__ import annotations

import math

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
    "Pull",
    "Pushed",
    "check_answer",
    "check_last",
    "check_profile",
]

#: Numbers of nodes are at most this in size: products and squares of larger ones may become infinite.
LARGEST = 1e30


def check_answer(
    task: str, correction: npt.ArrayLike, evidence: Evidence, dim: int
) -> tuple[Matrix, Evidence]:
    """The correction as (dim,) float64 and the evidence, if they can be.

    Raises:
        InvalidValueError: naming the shape, or the numbers.
    """
    vector = _check_vector(task, "correction", correction, dim)
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


def _check_vector(task: str, what: str, values: npt.ArrayLike, dim: int) -> Matrix:
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
    _check_vector(task, "last model", last.model, dim)
    _check_vector(task, "last column", last.column, dim)
    if not 1 / LARGEST <= last.mu <= LARGEST:
        raise InvalidValueError(
            f"task {task!r}: last mu={last.mu!r}: expected a number from {1 / LARGEST:g} to {LARGEST:g}"
        )
    if not isinstance(last.tasks, int) or last.tasks < 0:
        raise InvalidValueError(
            f"task {task!r}: last tasks={last.tasks!r}: expected an integer of at least 0"
        )
    return last
