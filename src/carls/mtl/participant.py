"""A task's part in a table: its steps, one after the other, and what came of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from carls.client import TaskTable
from carls.client.backoff import INTERRUPTIONS, Backoff
from carls.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    LimitReachedError,
    UnavailableError,
    UnknownTaskError,
)
from carls.messages import Evidence, Pull, Pushed
from carls.mtl.losses import Vector
from carls.mtl.task import Task
from carls.specs.algorithms import Profile

#: After these a task node waits a little and tries again,
_PASSING = (UnavailableError, DeadlineExceededError, LimitReachedError)
#: and after the others of these it joins again and begins with a pull.
TASK_INTERRUPTIONS = (*INTERRUPTIONS, LimitReachedError, UnknownTaskError)
#: Pause before a participant that must wait for the others asks again, in seconds.
_ROUND_S = 0.01
#: A correction of at most this share of the model leaves nothing to do for now.
_STILL = 1e-12


@dataclass(frozen=True)
class NodeProgress:
    """What a task node has done so far.

    Attributes:
        updates: pushes that moved its column.
        duplicates: pushes that came again and changed nothing: they had moved the column, and the reply
            had been lost.
        superseded: pushes that came too late and changed nothing.
        interruptions: times the bank went away, timed out, was replaced, lacked the table or had taken
            the task out, and the node tried or joined again.
        last_error: the message of the last of these; None before.
        mean_delay_s: mean seconds from a pull to the reply to its push, over all updates.
    """

    updates: int = 0
    duplicates: int = 0
    superseded: int = 0
    interruptions: int = 0
    last_error: str | None = None
    mean_delay_s: float = 0.0


class _Answer(NamedTuple):
    """A push to make: when its pull came, and whether it leaves nothing to do for now."""

    sequence: int
    correction: Vector
    evidence: Evidence
    began: float
    still: bool


class Participant:
    """One task of a process: joins a table, pulls, solves, pushes, and so on.

    Where nothing changes any more it rests: pauses between its updates grow to a second, and end when
    its model moves again.

    Args:
        name: of the task.
        task: its loss, on private data.
        delay: draws the seconds from a pull to its push, on top of what the solve takes; None: none.

    Attributes:
        progress: what it has done so far.
    """

    def __init__(self, name: str, task: Task, delay: Callable[[], float] | None = None) -> None:
        self.name = name
        self.progress = NodeProgress()
        self._task = task
        self._delay = delay
        self._profile: Profile | None = None
        self._joined = False
        self._answer: _Answer | None = None
        self._last: Pull | None = None
        self._resting, self._failing = Backoff(), Backoff()
        #: A task keeps what it evaluated last, and its owner may ask while a step is under way.
        self._evaluating = threading.Lock()

    @property
    def dim(self) -> int:
        """Elements of the task's model."""
        return self._task.dim

    @property
    def model(self) -> Vector:
        """The column of the proximal map that was pulled last, (dim,).

        Raises:
            InvalidRequestError: none was pulled yet.
        """
        if self._last is None:
            raise InvalidRequestError(f"task {self.name!r} has no model yet: it has not pulled; let it run")
        return self._last.model

    @property
    def intercept(self) -> float:
        """The best intercept for `model`, computed here, from the data; 0 where the task has none."""
        model = self.model
        with self._evaluating:
            return self._task.evaluate(model).intercept

    def predict(self, features: Vector) -> Vector:
        """Predictions (n,) of features (n, dim), by `model` and `intercept`."""
        return np.asarray(features @ self.model, np.float64) + self.intercept

    def step(self, table: TaskTable, wait_s: float = 0.0) -> float:
        """Do what comes next: join, or pull and solve, or push. Interruptions are survived.

        Args:
            table: to take part in.
            wait_s: how long a pull may wait for the others, as it does in synchronous algorithms.

        Returns:
            in how many seconds to step again.
        """
        try:
            if not self._joined:
                self._join(table)
            if self._answer is None:
                self._solve(table, wait_s)
                if self._answer is None:
                    return _ROUND_S
                if self._delay is not None:
                    return self._delay()
            return self._push(table)
        except TASK_INTERRUPTIONS as error:
            return self.interrupted(error)

    def interrupted(self, error: Exception) -> float:
        """Note what went wrong; the seconds to wait before the next step."""
        if not isinstance(error, _PASSING):
            self._joined, self._answer = False, None
        self.progress = replace(
            self.progress, interruptions=self.progress.interruptions + 1, last_error=str(error)
        )
        return self._failing.pause_s()

    def _join(self, table: TaskTable) -> None:
        if self._profile is None:
            if self.dim != table.spec.dim:
                raise InvalidRequestError(
                    f"task {self.name!r} has {self.dim} features, and table {table.name!r} is for models of "
                    f"{table.spec.dim}: expected the same features, in the same order, at every node"
                )
            with self._evaluating:
                self._profile = self._task.profile()
        table.join(self.name, self._profile, self._last)
        self._joined = True

    def _solve(self, table: TaskTable, wait_s: float) -> None:
        pull = table.pull(self.name, wait_s)
        if pull is None:
            return
        began = time.monotonic()
        with self._evaluating:
            correction, evidence = self._task.answer(pull, table.algorithm)
        size = max(np.linalg.norm(pull.model), np.linalg.norm(pull.column))
        still = bool(np.linalg.norm(correction) <= _STILL * size)
        self._last = pull
        self._answer = _Answer(pull.sequence, correction, evidence, began, still)

    def _push(self, table: TaskTable) -> float:
        answer = self._answer
        assert answer is not None
        outcome = table.push(self.name, answer.sequence, answer.correction, answer.evidence)
        self._answer, self._failing = None, Backoff()
        self._count(outcome, time.monotonic() - answer.began)
        if answer.still:
            return self._resting.pause_s()
        self._resting = Backoff()
        return 0.0

    def _count(self, outcome: Pushed, delay_s: float) -> None:
        done = self.progress
        if outcome is Pushed.DUPLICATE:
            self.progress = replace(done, duplicates=done.duplicates + 1)
        elif outcome is Pushed.SUPERSEDED:
            self.progress = replace(done, superseded=done.superseded + 1)
        else:
            mean = done.mean_delay_s + (delay_s - done.mean_delay_s) / (done.updates + 1)
            self.progress = replace(done, updates=done.updates + 1, mean_delay_s=mean)
