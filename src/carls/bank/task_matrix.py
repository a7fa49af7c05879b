"""The matrix that couples tasks: read through a proximal map, moved by relaxed corrections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.bank.checks import check_wait
from carls.bank.gap import Evidence, Gap
from carls.bank.task_columns import TaskColumns
from carls.bank.task_guard import TaskGuard
from carls.bank.task_members import Claim, Member, Read, TaskMembers
from carls.bank.task_progress import TaskProgress
from carls.bank.task_pulls import LARGEST, check_answer, check_last, check_profile
from carls.errors import InvalidRequestError, InvalidSpecError, InvalidValueError
from carls.messages import Epoch, Pull, Pushed, TaskModels, TaskState
from carls.specs.algorithms import TOLERATED, Algorithm, Delays, Profile
from carls.specs.regularizer import Matrix, Regularizer
from carls.specs.tables import check_name

#: Longest wait of a pull, in seconds.
MAX_WAIT_S = 1.0
#: How long tasks that come back wait for the others before they go on without them, in seconds. Each that
#: goes on while the others are not there moves away from where all were.
GATHERING_S = 5.0


class TaskMatrix:
    """V of asynchronous multi-task learning, without sockets; threads may share it.

    Only task t's pushes change column t, and each answers a pull of the present column. So a push
    that comes twice, late, or after another answer to the same column changes nothing.

    A task has one node at a time, the one that joined last, from its first pull on: pulls and pushes of the
    one before are an error then, so that two nodes under one name are found out. A join that a dead node
    sent, and that comes late, changes nothing.

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
        self._members = TaskMembers(dim)
        self._columns = TaskColumns(dim, self.regularizer, self.rho)
        self._start = self._sequence = start
        self._duplicates = self._superseded = 0
        self._progress, self._guard = TaskProgress(), TaskGuard()

    @property
    def tasks(self) -> list[str]:
        """The tasks that are there, in the order of the columns."""
        with self._changed:
            return self._members.names

    @property
    def history(self) -> list[Epoch]:
        """The newest epochs, oldest first, at most 10,000."""
        with self._changed:
            return list(self._progress.history)

    @property
    def mu(self) -> float:
        """Of the algorithm; 0 until a task has joined."""
        return self._columns.mu

    @property
    def updates(self) -> int:
        """Pushes applied since the matrix was made."""
        return self._progress.updates

    @property
    def nbytes(self) -> int:
        """Bytes that the columns and the pulls that may be answered take."""
        with self._changed:
            pulls = sum(len(member.reads) for member in self._members)
            return self._columns.nbytes + 16 * self.dim * pulls

    def join(
        self, task: str, profile: Profile, last: Pull | None = None, node: str = "", producer: str = ""
    ) -> None:
        """Let a node answer for a task. A new task gets a column; one that is there keeps its own, and
        its node until the new one pulls.

        Args:
            task: its name.
            profile: what the node tells about it.
            last: its last pull from a matrix that is gone, such as a bank's that started anew: a new column
                begins with what it gave, instead of zeros. V - W is a subgradient of rho * g divided by mu,
                so the column is moved to this matrix's mu; a matrix that has seen no push takes over the
                pull's, and gives no pulls until as many tasks are back as there were, for 5 seconds at most.
                The optimum is the same either way, and nearer.
            node: who answers for it, from its first pull on.
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
            member = self._members.find(task)
            if member is None or not member.told_before(profile):
                self._check_scale(task, profile)
            if member is None:
                self._members.add(task, Member(profile, node, producer, self._clock()))
                self._columns.add()
                self._recouple(last)
                if last is not None:
                    self._columns.put_back(len(self._members) - 1, last)
                    if not self.updates:
                        self._members.expect(last.tasks, self._clock() + GATHERING_S)
                self._changed.notify_all()
                return
            member.claim(node, Claim(profile, producer))
            if node == member.node and len(member.claims) == 1:
                self._take_over(task, member, node)

    def leave(self, task: str) -> None:
        """Take a task out, with its column; the others are coupled without it.

        Raises:
            UnknownTaskError: it is not there.
        """
        with self._changed:
            self._columns.remove(self._members.index(task))
            self._members.remove(task)
            self._recouple(None)
            self._end_epoch()
            self._changed.notify_all()

    def pull(self, task: str, wait_s: float = 0.0, node: str = "") -> Pull | None:
        """The task's column of the proximal map, and of V. Changes nothing that others see.

        Args:
            task: whose column.
            wait_s: how long to wait where there is no pull yet, in seconds; above 1 counts as 1.
            node: who asks.

        Returns:
            None where the algorithm is synchronous and this task has pushed in this round, or where tasks
            that come back wait for each other: it must wait for the others.

        Raises:
            UnknownTaskError: the task has not joined.
            InvalidRequestError: another node has joined with it, and pulled, since.
        """
        deadline = time.monotonic() + min(check_wait(wait_s), MAX_WAIT_S)
        with self._changed:
            while True:
                claiming = self._members.find(task)
                if claiming is not None and node in claiming.claims:
                    self._take_over(task, claiming, node)
                member = self._members.of(task, node)
                member.seen = self._clock()
                waits = self.algorithm.synchronous and member.pushed
                if not waits and not self._members.gathering(member.seen):
                    break
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)
            model, column = self._columns.read(self._members.index(task))
            self._sequence += 1
            read = Read(model, column, self.mu, self.updates, self._clock())
            member.open(self._sequence, read)
            return Pull(self._sequence, self.mu, model.copy(), column.copy(), len(self._members))

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
            member = self._members.of(task, node)
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
            return TaskModels(tuple(self._members.names), self._columns.models().copy())

    def gap(self) -> Gap | None:
        """The gap of the points that nodes evaluated last; None until each task has pushed since it joined.

        The bound is the best so far of these tasks.
        """
        with self._changed:
            return self._gap()

    def state(self) -> TaskState:
        """How far it is, and when its nodes were seen."""
        with self._changed:
            gap = self._gap()
            return TaskState(
                nodes=self._members.states(self._clock()),
                updates=self.updates,
                duplicates=self._duplicates,
                superseded=self._superseded,
                epochs=self._progress.epochs,
                mu=self.mu,
                guard=self._guard.factor,
                longest_delay=self._progress.longest,
                gap=gap,
                certified=self._progress.certified,
            )

    def close(self) -> None:
        """Wake all who wait for a round to end: it will not."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take_over(self, task: str, member: Member, node: str) -> None:
        """Let a node that has joined answer for a task."""
        profile, producer = member.claims[node]
        same = member.told_before(profile)
        if not same:
            self._check_scale(task, profile)  # other tasks may have come since it joined
        member.took_over(node)
        member.producer, member.seen = producer, self._clock()
        # What its column says is of data that may be others: nothing is certified by it.
        member.told = False
        self._progress.data_changed()
        if not same:
            member.profile = profile
            self._recouple(None)

    def _check_scale(self, task: str, profile: Profile) -> None:
        profiles = self._members.with_profile(task, profile)
        coupling = self._columns.coupling(list(profiles))
        mu = self.algorithm.scale(coupling, self.rho, self.dim, list(profiles.values()))
        if not 1 / LARGEST <= mu <= LARGEST:
            raise InvalidValueError(
                f"task {task!r}: {profile} with rho={self.rho:g} would need mu={mu:g}: expected one from "
                f"{1 / LARGEST:g} to {LARGEST:g}; scale the samples, or rho"
            )

    def _recouple(self, last: Pull | None) -> None:
        """After the tasks have changed: their coupling, mu, and what is known of the optimum."""
        self._progress.tasks_changed()
        self._guard = TaskGuard()
        coupling, profiles = self._columns.couple(self._members.names), self._members.profiles
        if not profiles:
            return
        if last is None:
            mu, tolerated = self.algorithm.scale(coupling, self.rho, self.dim, profiles), TOLERATED
        else:
            mu, tolerated = (self.mu if self.updates else last.mu), 1.0
        if not self.mu or not 1 / tolerated <= mu / self.mu <= tolerated:
            self._columns.rescale(mu)

    def _apply(
        self, task: str, member: Member, sequence: int, correction: Matrix, evidence: Evidence
    ) -> None:
        index, read = self._members.index(task), member.answer(sequence, self.updates, self._clock())
        self._columns.record(index, read, correction, evidence, implicit=self.algorithm.implicit)
        self._progress.applied(member.behind)
        delays = Delays(self._progress.longest, float(np.mean(member.delays)))
        relaxation = self.algorithm.relaxation(len(self._members), delays, self._guard.factor)
        if self.algorithm.synchronous:
            self._columns.hold(index, relaxation)
        else:
            self._columns.move(index, relaxation)
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Where all tasks have pushed since the last epoch: guard the steps, note the gap."""
        if not self._members.all_pushed:
            return
        for member in self._members:
            member.pushed = False
        if self.algorithm.synchronous:
            self._columns.release()
            self._changed.notify_all()
        self._guard.judge(self.algorithm, self._columns.squares(), self._columns.rounding())
        if self._progress.ended():
            mu = self._columns.better_mu(self.algorithm, self._members.ridge_norm)
            if mu != self.mu:
                self._columns.rescale(mu)
                self._guard.scale_changed()
        gap, progress = self._gap(), self._progress
        if gap is not None:
            epoch = Epoch(self._clock(), progress.updates, gap, self._guard.factor, progress.longest)
            progress.history.append(epoch)

    def _gap(self) -> Gap | None:
        if not self._members or not all(member.told for member in self._members):
            return None
        return self._progress.gap(lambda: self._columns.gap(self._members.ridge_norm))
