"""The matrix that couples tasks: read through a proximal map, moved by relaxed corrections."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.bank.checks import check_wait
from carls.bank.gap import Evidence, Gap
from carls.bank.task_columns import TaskColumns
from carls.bank.task_pulls import LARGEST, Member, Read, check_answer, check_last, check_profile
from carls.errors import (
    InvalidRequestError,
    InvalidSpecError,
    InvalidValueError,
    TableFullError,
    UnknownTaskError,
)
from carls.messages import Epoch, Pull, Pushed, TaskModels, TaskNodeState, TaskState
from carls.specs.algorithms import TOLERATED, Algorithm, Delays, Profile, ridge_norm
from carls.specs.regularizer import Matrix, Regularizer
from carls.specs.tables import check_name

#: Pulls of a task that may be answered; older ones are superseded.
MAX_READS = 8
#: Epochs that the history keeps.
MAX_HISTORY = 10_000
#: Tasks, and elements of V, that there may be.
MAX_TASKS, MAX_ELEMENTS = 4096, 2**24
#: Longest wait of a pull, in seconds.
MAX_WAIT_S = 1.0


class TaskMatrix:
    """V of asynchronous multi-task learning, without sockets; threads may share it.

    Only task t's pushes change column t, and each answers a pull of the present column. So a push
    that comes twice, late, or after another answer to the same column changes nothing.

    A task has one node at a time, the one that joined last: pulls and pushes of the one before are an error
    from then on, so that two nodes under one name are found out.

    Args:
        dim: elements of a task's model.
        regularizer: g.
        rho: its weight, > 0.
        algorithm: what nodes evaluate and how pushes are relaxed.
        clock: seconds, for delays and the history.
        start: the first pull has the number after it.
    """

    def __init__(
        self,
        dim: int,
        regularizer: Any = "nuclear",
        rho: float = 1.0,
        algorithm: Any = "douglas_rachford",
        clock: Callable[[], float] = time.monotonic,
        start: int = 0,
    ) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise InvalidSpecError(f"dim={dim!r}: expected a whole number >= 1")
        if not 0 < float(rho) < float("inf"):
            raise InvalidSpecError(f"rho={rho!r}: expected a finite number > 0")
        self.dim = dim
        self.regularizer = Regularizer.of(regularizer)
        self.rho = float(rho)
        self.algorithm = Algorithm.of(algorithm)
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False
        self._members: dict[str, Member] = {}
        self._columns = TaskColumns(dim, self.regularizer, self.rho)
        self._start = self._sequence = start
        self._updates = self._duplicates = self._superseded = 0
        self._longest = 0
        self._epochs = 0
        self._guard = 1.0
        self._best = float("inf")
        self._bound = -float("inf")
        self._found: Gap | None = None
        self._history: deque[Epoch] = deque(maxlen=MAX_HISTORY)

    @property
    def tasks(self) -> list[str]:
        """The tasks that are there, in the order of the columns."""
        with self._changed:
            return list(self._members)

    @property
    def history(self) -> list[Epoch]:
        """The newest epochs, oldest first, at most 10,000."""
        with self._changed:
            return list(self._history)

    @property
    def mu(self) -> float:
        """Of the algorithm; 0 until a task has joined."""
        return self._columns.mu

    @property
    def updates(self) -> int:
        """Pushes applied since the matrix was made."""
        return self._updates

    @property
    def nbytes(self) -> int:
        """Bytes that the columns and the pulls that may be answered take."""
        with self._changed:
            pulls = sum(len(member.reads) for member in self._members.values())
            return self._columns.nbytes + 16 * self.dim * pulls

    def join(
        self, task: str, profile: Profile, last: Pull | None = None, node: str = "", producer: str = ""
    ) -> None:
        """Let a node answer for a task. A new task gets a column; one that is there keeps its own.

        Args:
            task: its name.
            profile: what the node tells about it.
            last: its last pull from a matrix that is gone, such as a bank's that started anew: a new column
                begins with what it gave, instead of zeros. V - W is a subgradient of rho * g divided by mu,
                so the column is moved to this matrix's mu; a matrix that has seen no push takes over the
                pull's. The optimum is the same either way, and nearer.
            node: who answers for it from now on.
            producer: of the node, for `state`.

        Raises:
            InvalidSpecError: a name that cannot be, or an algorithm that needs to know more.
            InvalidValueError: the profile or the pull has numbers that cannot be.
            TableFullError: there are as many tasks as there may be.
        """
        check_name("task", task)
        check_profile(task, profile)
        if last is not None:
            check_last(task, last, self.dim)
        with self._changed:
            member = self._members.get(task)
            if member is None or member.profile != profile:
                self._check_room(task)
                self._check_scale(task, profile)
            if member is None:
                self._members[task] = Member(profile, node, producer, self._clock())
                self._columns.add()
                self._recouple(last)
                if last is not None:
                    self._columns.put_back(len(self._members) - 1, last)
                return
            if member.node != node:
                member.reads.clear()
            member.node, member.producer, member.seen = node, producer, self._clock()
            # The data may be others, of which the old bound says nothing.
            self._bound, self._found = -float("inf"), None
            if member.profile != profile:
                member.profile = profile
                self._recouple(None)

    def leave(self, task: str) -> None:
        """Take a task out, with its column; the others are coupled without it.

        Raises:
            UnknownTaskError: it is not there.
        """
        with self._changed:
            self._member(task)
            index = list(self._members).index(task)
            del self._members[task]
            self._columns.remove(index)
            self._recouple(None)
            self._end_epoch()
            self._changed.notify_all()

    def pull(self, task: str, wait_s: float = 0.0, node: str = "") -> Pull | None:
        """The task's column of the proximal map, and of V. Changes nothing that others see.

        Args:
            task: whose column.
            wait_s: how long to wait for a synchronous round to end, in seconds; above 1 counts as 1.
            node: who asks.

        Returns:
            None where the algorithm is synchronous and this task has pushed in this round:
            it must wait for the others.

        Raises:
            UnknownTaskError: the task has not joined.
            InvalidRequestError: another node has joined with it since.
        """
        deadline = time.monotonic() + min(check_wait(wait_s), MAX_WAIT_S)
        with self._changed:
            while True:
                member = self._member_of(task, node)
                member.seen = self._clock()
                if not (self.algorithm.synchronous and member.pushed):
                    break
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)
            model, column = self._columns.read(list(self._members).index(task))
            self._sequence += 1
            read = Read(model, column, self.mu, self._updates, self._clock())
            member.reads[self._sequence] = read
            if len(member.reads) > MAX_READS:
                del member.reads[next(iter(member.reads))]
            return Pull(self._sequence, self.mu, model.copy(), column.copy())

    def push(
        self, task: str, sequence: int, correction: npt.ArrayLike, evidence: Evidence, node: str = ""
    ) -> Pushed:
        """Move the task's column by a correction that answers the pull `sequence`, at most once.

        Args:
            task: whose column.
            sequence: of the pull.
            correction: w - v - y / mu, (dim,), finite.
            evidence: of the point that was evaluated.
            node: who answers.

        Raises:
            UnknownTaskError: the task has not joined.
            InvalidRequestError: the pull was never made, or another node has joined with the task since.
            InvalidValueError: wrong shape, NaN or infinity. Nothing was changed.
        """
        vector, scalars = check_answer(task, correction, evidence, self.dim)
        with self._changed:
            member = self._member_of(task, node)
            if not self._start < sequence <= self._sequence:
                raise InvalidRequestError(
                    f"task {task!r}: push for pull {sequence}: expected one that was made, "
                    f"{self._start + 1} to {self._sequence}"
                )
            member.seen = self._clock()
            if sequence in member.reads:
                self._apply(task, member, sequence, vector, scalars)
                return Pushed.APPLIED
            if sequence <= member.answered:
                self._duplicates += 1
                return Pushed.DUPLICATE
            self._superseded += 1
            return Pushed.SUPERSEDED

    def models(self) -> TaskModels:
        """W, the proximal map of V, with the names of its columns."""
        with self._changed:
            return TaskModels(tuple(self._members), self._columns.models().copy())

    def gap(self) -> Gap | None:
        """The gap of the points that nodes evaluated last; None until each task has pushed.

        The bound is the best so far of these tasks.
        """
        with self._changed:
            return self._gap()

    def state(self) -> TaskState:
        """How far it is, and when its nodes were seen."""
        with self._changed:
            now = self._clock()
            nodes = tuple(_state(task, member, now) for task, member in self._members.items())
            return TaskState(
                nodes=nodes,
                updates=self._updates,
                duplicates=self._duplicates,
                superseded=self._superseded,
                epochs=self._epochs,
                mu=self.mu,
                guard=self._guard,
                longest_delay=self._longest,
                gap=self._gap(),
            )

    def close(self) -> None:
        """Wake all who wait for a round to end: it will not."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _member(self, task: str) -> Member:
        if task not in self._members:
            raise UnknownTaskError(f"task {task!r:.140} is not in this matrix: expected it to join first")
        return self._members[task]

    def _member_of(self, task: str, node: str) -> Member:
        member = self._member(task)
        if member.node != node:
            raise InvalidRequestError(
                f"task {task!r} was joined by another node since, of {member.producer!r}: expected one "
                "node at a time. Stop one of them, or give it a task name of its own; joining again takes the "
                "task back"
            )
        return member

    def _check_room(self, task: str) -> None:
        count = len(self._members | {task: None})
        if count > MAX_TASKS or count * self.dim > MAX_ELEMENTS:
            raise TableFullError(
                f"task {task!r}: there are {len(self._members)} tasks of dim {self.dim}: expected at most "
                f"{MAX_TASKS} tasks, and {MAX_ELEMENTS} numbers in all their models"
            )

    def _check_scale(self, task: str, profile: Profile) -> None:
        profiles = {name: member.profile for name, member in self._members.items()} | {task: profile}
        coupling = self.regularizer.over(list(profiles))
        mu = self.algorithm.scale(coupling, self.rho, self.dim, list(profiles.values()))
        if not 1 / LARGEST <= mu <= LARGEST:
            raise InvalidValueError(
                f"task {task!r}: {profile} with rho={self.rho:g} would need mu={mu:g}: expected one from "
                f"{1 / LARGEST:g} to {LARGEST:g}; scale the samples, or rho"
            )

    def _recouple(self, last: Pull | None) -> None:
        """After the tasks have changed: their coupling, mu, and what is known of the optimum."""
        self._best, self._bound, self._found = float("inf"), -float("inf"), None
        coupling = self._columns.couple(list(self._members))
        profiles = [member.profile for member in self._members.values()]
        if not profiles:
            return
        if last is None:
            mu, tolerated = self.algorithm.scale(coupling, self.rho, self.dim, profiles), TOLERATED
        else:
            mu, tolerated = (self.mu if self._updates else last.mu), 1.0
        if not self.mu or not 1 / tolerated <= mu / self.mu <= tolerated:
            self._columns.rescale(mu)
        self._epochs = 0

    def _apply(
        self, task: str, member: Member, sequence: int, correction: Matrix, evidence: Evidence
    ) -> None:
        index = list(self._members).index(task)
        read = member.reads[sequence]
        self._columns.record(index, read, correction, evidence, implicit=self.algorithm.implicit)
        member.behind = self._updates - read.updates
        self._longest = max(self._longest, member.behind)
        member.delays.append(self._clock() - read.at)
        member.reads.clear()
        member.answered = max(member.answered, sequence)
        delays = Delays(self._longest, float(np.mean(member.delays)))
        relaxation = self.algorithm.relaxation(len(self._members), delays, self._guard)
        if self.algorithm.synchronous:
            self._columns.hold(index, relaxation)
        else:
            self._columns.move(index, relaxation)
        member.pushed = True
        member.updates += 1
        self._updates += 1
        self._found = None
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Where all tasks have pushed since the last epoch: guard the steps, note the gap."""
        if not self._members or not all(member.pushed for member in self._members.values()):
            return
        for member in self._members.values():
            member.pushed = False
        if self.algorithm.synchronous:
            self._columns.release()
            self._changed.notify_all()
        squares = self._columns.squares()
        if self.algorithm.diverged(squares, self._best):
            self._guard /= 2
        self._best = min(self._best, squares)
        self._epochs += 1
        if self._epochs & (self._epochs - 1) == 0:
            mu = self._columns.better_mu(self.algorithm, self._ridge_norm())
            if mu != self.mu:
                self._columns.rescale(mu)
                self._best = float("inf")
        gap = self._gap()
        if gap is not None:
            self._history.append(Epoch(self._clock(), self._updates, gap, self._guard, self._longest))

    def _ridge_norm(self) -> float:
        return ridge_norm([member.profile for member in self._members.values()])

    def _gap(self) -> Gap | None:
        if self._found is None and self._members and all(m.updates for m in self._members.values()):
            gap = self._columns.gap(self._ridge_norm())
            self._bound = max(self._bound, gap.bound)
            self._found = Gap(gap.objective, self._bound)
        return self._found


def _state(task: str, member: Member, now: float) -> TaskNodeState:
    delays = list(member.delays) or [-1.0]
    return TaskNodeState(
        task=task,
        producer=member.producer,
        updates=member.updates,
        delay_s=delays[-1],
        mean_delay_s=math.fsum(delays) / len(delays),
        behind=member.behind,
        seen_s=max(now - member.seen, 0.0),
    )
