"""Messages about tables of tasks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carls.messages.coupling import Epoch, Evidence, Gap
from carls.messages.rows import Int64s, WriteId
from carls.specs.regularizer import Matrix


class JoinTask(NamedTuple):
    """Let `node` answer for a task from its first pull on; a task that is new gets a column.

    `ridge_norm` and `lipschitz` are its `Profile`, None where nobody knows the constant. `mu`, `model` and
    `column`, (dim,) float64, and `tasks` are of its last pull from a bank that is gone; 0 and (0,) where
    there is none.
    Reply: `Done`."""

    table: str
    task: str
    ridge_norm: float
    lipschitz: float | None
    mu: float
    model: Matrix
    column: Matrix
    tasks: int
    node: str
    producer: str
    write: WriteId


class LeaveTask(NamedTuple):
    """Take a task out, with its column. Reply: `Done`."""

    table: str
    task: str
    producer: str
    write: WriteId


class PullTask(NamedTuple):
    """Read the task's columns. Waits up to `wait_s` seconds, at most 1, for a synchronous round to end.
    Reply: `Pull` or `NoPull`."""

    table: str
    task: str
    wait_s: float
    node: str


class NoPull(NamedTuple):
    """The round has not ended yet, or tasks that a bank before this one had are not all back yet."""


class PushTask(NamedTuple):
    """Answer the pull `sequence` by a correction, (dim,) float64, and its evidence. The number makes it a
    write that is applied at most once, so it has no `write`. Reply: `TaskPushed`."""

    table: str
    task: str
    sequence: int
    correction: Matrix
    evidence: Evidence
    node: str
    producer: str


class TaskPushed(NamedTuple):
    """What became of a push: the value of a `Pushed`."""

    outcome: str


class FetchTaskModels(NamedTuple):
    """Read W whole. Reply: `TaskModels`."""

    table: str


class FetchTaskState(NamedTuple):
    """How far the table is, and when its nodes were seen. Reply: `TaskState`."""

    table: str


class FetchTaskHistory(NamedTuple):
    """The newest epochs, oldest first. Reply: `TaskHistory`."""

    table: str


class TaskHistory(NamedTuple):
    """What is told of each of n epochs, as in `Epoch`: (n,) float64 or int64 each."""

    at: Matrix
    updates: Int64s
    objective: Matrix
    bound: Matrix
    guard: Matrix
    longest_delay: Int64s

    @staticmethod
    def of(epochs: list[Epoch]) -> TaskHistory:
        """The history of those epochs."""
        rows = [(e.at, e.updates, e.gap.objective, e.gap.bound, e.guard, e.longest_delay) for e in epochs]
        at, updates, objective, bound, guard, delay = list(zip(*rows, strict=True)) if rows else [()] * 6
        return TaskHistory(
            _floats(at),
            _integers(updates),
            _floats(objective),
            _floats(bound),
            _floats(guard),
            _integers(delay),
        )

    def epochs(self) -> list[Epoch]:
        """The epochs that it tells of."""
        rows = zip(*(column.tolist() for column in self), strict=True)
        return [
            Epoch(at, updates, Gap(objective, bound), guard, delay)
            for at, updates, objective, bound, guard, delay in rows
        ]


def _floats(values: tuple[float, ...]) -> Matrix:
    return np.array(values, np.float64)


def _integers(values: tuple[int, ...]) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)
