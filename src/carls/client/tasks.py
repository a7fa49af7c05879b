"""Tables of tasks, as task nodes and those who watch them use them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from carls.bank.task_pulls import check_answer, check_last, check_profile
from carls.client.arguments import integer, seconds
from carls.client.handle import TableHandle
from carls.messages import (
    Epoch,
    Evidence,
    FetchTaskHistory,
    FetchTaskModels,
    FetchTaskState,
    Gap,
    JoinTask,
    LeaveTask,
    NoPull,
    Pull,
    PullTask,
    Pushed,
    PushTask,
    Reply,
    TaskHistory,
    TaskModels,
    TaskPushed,
    TaskState,
    WriteId,
)
from carls.specs import Algorithm, Profile, TaskSpec, check_name

if TYPE_CHECKING:
    from carls.client.bank import Bank

_NOTHING = Pull(0, 0.0, np.zeros(0), np.zeros(0))


class TaskTable(TableHandle[TaskSpec]):
    """A table of tasks: models that are coupled, each fitted by a node that keeps its data.

    A node joins with its task, and then pulls, works, and pushes what answers the pull, over and over. Each
    pull is answered at most once, by its number: a push that came through although its reply was lost is
    known when it comes again. So a push that fails for want of a reply (`DeadlineExceededError`,
    `UnavailableError`) may just be repeated, and what became of it is told then.

    A task has one node at a time: the handle that joined with it last, from its first pull on. Pulls and
    pushes of another one are an error then, so that two nodes under one name are found out.

    When the bank was replaced by an empty one, the next call raises `BankRestartedError`, or
    `UnknownTaskError` where the handle knows that already: join again, with the last pull, and go on.
    """

    _readers = 32

    def __init__(self, bank: Bank, name: str, spec: TaskSpec) -> None:
        self._node = os.urandom(16).hex()
        super().__init__(bank, name, spec)

    @property
    def algorithm(self) -> Algorithm:
        """What nodes evaluate, and how their answers are relaxed."""
        return self.spec.algorithm

    @property
    def tasks(self) -> list[str]:
        """The tasks that are there, in the order of the columns; asks the bank."""
        return list(self.state().tasks)

    @property
    def mu(self) -> float:
        """Of the algorithm; 0 until a task has joined. Asks the bank; a pull has it too."""
        return self.state().mu

    @property
    def history(self) -> list[Epoch]:
        """The newest epochs, oldest first, at most 10,000; asks the bank."""
        found = self._read(None, lambda left: self._send(FetchTaskHistory(self.name), left))
        return cast("TaskHistory", found).epochs()

    def join(
        self, task: str, profile: Profile, last: Pull | None = None, timeout_s: float | None = None
    ) -> None:
        """Let this handle answer for a task, from its first pull on. A new task gets a column; one that is
        there keeps its own.

        Args:
            task: its name: 1 to 128 letters, digits and `_ . : -`.
            profile: what the bank needs to know about it; `carls.mtl.Task.profile()`.
            last: the task's last pull, where the bank that gave it has been replaced by an empty one: a new
                column begins with what it gave, so that the work done so far is not lost. Pulls wait then
                until as many tasks are back as there were, for 5 seconds at most. A column that is there is
                kept.
            timeout_s: deadline; default the bank's.

        Raises:
            InvalidSpecError: a name that cannot be, or an algorithm that needs to know more of the task.
            InvalidValueError: the profile or the pull has numbers that cannot be.
            TableFullError: there are as many tasks as there may be.
            OutcomeUnknownError: no reply in time; `flush()` repeats it, which is safe.
        """
        self._write([self._joining(task, profile, last)], timeout_s)

    def join_async(
        self, task: str, profile: Profile, last: Pull | None = None, timeout_s: float | None = None
    ) -> Future[list[Reply]]:
        """As `join`, in the background and in order."""
        return self._write_async([self._joining(task, profile, last)], timeout_s)

    def leave(self, task: str, timeout_s: float | None = None) -> None:
        """Take a task out, with its column, whoever answers for it; the others are coupled without it.

        Raises:
            UnknownTaskError: it is not there.
            OutcomeUnknownError: no reply in time; `flush()` repeats it, which is safe.
        """
        self._write([self._leaving(task)], timeout_s)

    def leave_async(self, task: str, timeout_s: float | None = None) -> Future[list[Reply]]:
        """As `leave`, in the background and in order."""
        return self._write_async([self._leaving(task)], timeout_s)

    def pull(self, task: str, wait_s: float = 0.0, timeout_s: float | None = None) -> Pull | None:
        """What the task's node works on next. Changes nothing that others see.

        Args:
            task: that this handle has joined with.
            wait_s: how long to wait where there is no pull yet, in seconds; above 1 counts as 1.
            timeout_s: deadline beyond the wait; default the bank's.

        Returns:
            None where the node must wait, and ask again: the algorithm is synchronous, this task has pushed
            and the others have not all; or tasks come back to a bank that was replaced, not all of them yet.

        Raises:
            UnknownTaskError: the task has not joined.
            InvalidRequestError: another handle has joined with it since.
        """
        return self._read(timeout_s, self._pulling(task, wait_s))

    def pull_async(
        self, task: str, wait_s: float = 0.0, timeout_s: float | None = None
    ) -> Future[Pull | None]:
        """As `pull`, in the background."""
        return self._read_async(timeout_s, self._pulling(task, wait_s))

    def push(
        self,
        task: str,
        sequence: int,
        correction: npt.ArrayLike,
        evidence: Evidence,
        timeout_s: float | None = None,
    ) -> Pushed:
        """Answer a pull, at most once.

        Args:
            task: whose pull it was.
            sequence: of the pull.
            correction: w - v - y / mu, y the gradient of the loss where it was evaluated; (dim,) float64.
            evidence: of that point.
            timeout_s: deadline; default the bank's.

        Returns:
            What became of it: DUPLICATE for one that was repeated after its reply was lost, and was applied.

        Raises:
            UnknownTaskError: the task has not joined.
            InvalidRequestError: the pull was never made, or another handle has joined with the task since.
            InvalidValueError: wrong shape, NaN or infinity. Nothing was changed.
            DeadlineExceededError, UnavailableError: no reply in time; repeating it is safe.
        """
        return self._read(timeout_s, self._pushing(task, sequence, correction, evidence))

    def push_async(
        self,
        task: str,
        sequence: int,
        correction: npt.ArrayLike,
        evidence: Evidence,
        timeout_s: float | None = None,
    ) -> Future[Pushed]:
        """As `push`, in the background."""
        # A copy: the caller may use the array again meanwhile.
        own = np.array(correction, copy=True)
        return self._read_async(timeout_s, self._pushing(task, sequence, own, evidence))

    def models(self, timeout_s: float | None = None) -> TaskModels:
        """The model of each task, all of one time."""
        return self._read(timeout_s, self._fetching_models)

    def models_async(self, timeout_s: float | None = None) -> Future[TaskModels]:
        """As `models`, in the background."""
        return self._read_async(timeout_s, self._fetching_models)

    def state(self, timeout_s: float | None = None) -> TaskState:
        """How far the table is, and when its nodes were seen."""
        return self._read(timeout_s, self._fetching_state)

    def state_async(self, timeout_s: float | None = None) -> Future[TaskState]:
        """As `state`, in the background."""
        return self._read_async(timeout_s, self._fetching_state)

    def gap(self, timeout_s: float | None = None) -> Gap | None:
        """How far the points that nodes evaluated last are from the optimum; None before each has pushed."""
        return self.state(timeout_s).gap

    def gap_async(self, timeout_s: float | None = None) -> Future[Gap | None]:
        """As `gap`, in the background."""
        return self._read_async(timeout_s, lambda left: self._fetching_state(left).gap)

    # --- requests ---

    def _joining(self, task: str, profile: Profile, last: Pull | None) -> Callable[[WriteId], JoinTask]:
        norm, lipschitz = check_profile(check_name("task", task), profile)
        if last is None:
            last = _NOTHING
        else:
            check_last(task, last, self.spec.dim)
        known = None if math.isinf(lipschitz) else float(lipschitz)
        who = self.bank.producer
        was = (last.mu, last.model, last.column, last.tasks)
        return partial(JoinTask, self.name, task, float(norm), known, *was, self._node, who)

    def _leaving(self, task: str) -> Callable[[WriteId], LeaveTask]:
        return partial(LeaveTask, self.name, check_name("task", task), self.bank.producer)

    def _pulling(self, task: str, wait_s: float) -> Callable[[float], Pull | None]:
        check_name("task", task)
        wait = seconds("wait_s", wait_s, zero=True)
        request = PullTask(self.name, task, wait, self._node)

        def pull(left: float) -> Pull | None:
            found = self._send(request, left + min(wait, 1.0))
            return None if isinstance(found, NoPull) else cast("Pull", found)

        return pull

    def _pushing(
        self, task: str, sequence: int, correction: npt.ArrayLike, evidence: Evidence
    ) -> Callable[[float], Pushed]:
        check_name("task", task)
        vector, scalars = check_answer(task, correction, evidence, self.spec.dim)
        number, who = integer("sequence", sequence, 1), self.bank.producer
        request = PushTask(self.name, task, number, vector, scalars, self._node, who)
        return lambda left: Pushed(cast("TaskPushed", self._send(request, left)).outcome)

    def _fetching_models(self, left: float) -> TaskModels:
        return cast("TaskModels", self._send(FetchTaskModels(self.name), left))

    def _fetching_state(self, left: float) -> TaskState:
        return cast("TaskState", self._send(FetchTaskState(self.name), left))
