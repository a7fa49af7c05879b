"""The matrix that couples tasks: read through a proximal map, moved by relaxed corrections."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.bank.gap import Evidence, Gap, duality_gap
from carls.bank.task_pulls import Epoch, Member, Pull, Pushed, Read
from carls.errors import InvalidRequestError, InvalidSpecError, InvalidValueError
from carls.specs.algorithms import TOLERATED, Algorithm, Delays, Profile, ridge_norm
from carls.specs.regularizer import Matrix, Regularizer
from carls.specs.tables import check_name

#: Pulls of a task that may be answered; older ones are superseded.
MAX_READS = 8
#: Epochs that the history keeps.
MAX_HISTORY = 10_000
#: The points' norm counts as at least this share of the ridge solutions' when mu is set from it.
LEAST_POINTS = 0.01
#: And the gradients' at least this share of the largest so far: where the optimum costs nothing no gradient
#: is left there, and mu would fall to nothing with them before the models are found.
LEAST_GRADIENTS = 1e-6
#: Parts of the state.
_V, _STEP, _POINT, _GRADIENT, _CORRECTION = range(5)


class TaskMatrix:
    """V of asynchronous multi-task learning, without sockets; threads may share it.

    Only task t's pushes change column t, and each answers a pull of the present column. So a push
    that comes twice, late, or after another answer to the same column changes nothing.

    Args:
        dim: elements of a task's model.
        regularizer: g.
        rho: its weight, > 0.
        algorithm: what nodes evaluate and how pushes are relaxed.
        clock: seconds, for delays and the history.
    """

    def __init__(
        self,
        dim: int,
        regularizer: Any = "nuclear",
        rho: float = 1.0,
        algorithm: Any = "douglas_rachford",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise InvalidSpecError(f"dim={dim!r}: expected a whole number >= 1")
        if not 0 < float(rho) < float("inf"):
            raise InvalidSpecError(f"rho={rho!r}: expected a finite number > 0")
        self.dim = dim
        self.regularizer = Regularizer.of(regularizer)
        self.rho = float(rho)
        self.algorithm = Algorithm.of(algorithm)
        self.mu = 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}
        #: V, what moves it at the end of a synchronous round, and each task's last point, gradient
        #: and correction: (5, dim, tasks).
        self._state: Matrix = np.zeros((5, dim, 0))
        self._evidence: Matrix = np.zeros((0, 3))
        self._models: Matrix | None = None
        self._coupling = self.regularizer
        self._sequence = 0
        self._updates = 0
        self._longest = 0
        self._epochs = 0
        self._guard = 1.0
        self._steepest = 0.0
        self._best = float("inf")
        self._bound = -float("inf")
        self._history: deque[Epoch] = deque(maxlen=MAX_HISTORY)

    @property
    def tasks(self) -> list[str]:
        """The tasks that are there, in the order of the columns."""
        with self._lock:
            return list(self._members)

    @property
    def history(self) -> list[Epoch]:
        """The newest epochs, oldest first, at most 10,000."""
        with self._lock:
            return list(self._history)

    @property
    def updates(self) -> int:
        """Pushes applied since the matrix was made."""
        return self._updates

    def join(self, task: str, profile: Profile) -> None:
        """Add a task with a column of zeros; a task that is there keeps its column and may pull again.

        Raises:
            InvalidSpecError: a name that cannot be, or an algorithm that needs to know more.
            InvalidValueError: the profile has negative numbers or NaN.
        """
        check_name("task", task)
        if not (0 <= profile.ridge_norm < float("inf") and profile.lipschitz >= 0):
            raise InvalidValueError(
                f"task {task!r}: {profile}: expected a finite ridge_norm >= 0 and lipschitz >= 0"
            )
        with self._lock:
            profiles = {name: member.profile for name, member in self._members.items()} | {task: profile}
            coupling = self.regularizer.over(list(profiles))
            self.algorithm.scale(coupling, self.rho, self.dim, list(profiles.values()))  # may refuse
            if task in self._members:
                self._members[task].profile = profile
            else:
                self._members[task] = Member(profile)
                self._state = np.pad(self._state, ((0, 0), (0, 0), (0, 1)))
                self._evidence = np.pad(self._evidence, ((0, 1), (0, 0)))
            self._recouple()

    def leave(self, task: str) -> None:
        """Take a task out, with its column; the others are coupled without it.

        Raises:
            InvalidRequestError: it is not there.
        """
        with self._lock:
            self._member(task)
            index = list(self._members).index(task)
            del self._members[task]
            self._state = np.delete(self._state, index, axis=2)
            self._evidence = np.delete(self._evidence, index, axis=0)
            self._recouple()
            self._end_epoch()

    def pull(self, task: str) -> Pull | None:
        """The task's column of the proximal map, and of V. Changes nothing that others see.

        Returns:
            None where the algorithm is synchronous and this task has pushed in this round:
            it must wait for the others.

        Raises:
            InvalidRequestError: the task has not joined.
        """
        with self._lock:
            member = self._member(task)
            if self.algorithm.synchronous and member.pushed:
                return None
            index = list(self._members).index(task)
            model, column = self._read()[:, index].copy(), self._state[_V, :, index].copy()
            self._sequence += 1
            member.reads[self._sequence] = Read(model, column, self.mu, self._updates, self._clock())
            if len(member.reads) > MAX_READS:
                del member.reads[next(iter(member.reads))]
            return Pull(self._sequence, self.mu, model.copy(), column.copy())

    def push(self, task: str, sequence: int, correction: npt.ArrayLike, evidence: Evidence) -> Pushed:
        """Move the task's column by a correction that answers the pull `sequence`, at most once.

        Args:
            task: whose column.
            sequence: of the pull.
            correction: w - v - y / mu, (dim,), finite.
            evidence: of the point that was evaluated.

        Raises:
            InvalidRequestError: the task has not joined, or the pull was never made.
            InvalidValueError: wrong shape, NaN or infinity. Nothing was changed.
        """
        try:
            vector, scalars = np.asarray(correction, np.float64), np.asarray(evidence, np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(
                f"task {task!r}: correction and evidence: expected numbers ({error})"
            ) from None
        if vector.shape != (self.dim,) or not np.isfinite(vector).all():
            raise InvalidValueError(
                f"task {task!r}: correction of shape {vector.shape}: expected ({self.dim},), all finite"
            )
        if scalars.shape != (3,) or not np.isfinite(scalars).all():
            raise InvalidValueError(
                f"task {task!r}: {evidence}: expected loss, square and linear, all finite numbers"
            )
        with self._lock:
            member = self._member(task)
            if not 0 < sequence <= self._sequence:
                raise InvalidRequestError(
                    f"task {task!r}: push for pull {sequence}: expected one that was made, "
                    f"1 to {self._sequence}"
                )
            if sequence not in member.reads:
                return Pushed.DUPLICATE if sequence <= member.answered else Pushed.SUPERSEDED
            self._apply(task, member, sequence, vector, evidence)
            return Pushed.APPLIED

    def models(self) -> Matrix:
        """W, the proximal map of V: (dim, tasks) float64, columns in the order of `tasks`."""
        with self._lock:
            models: Matrix = self._read().copy()
            return models

    def gap(self) -> Gap | None:
        """The gap of the points that nodes evaluated last; None until each task has pushed.

        The bound is the best so far of these tasks.
        """
        with self._lock:
            return self._gap()

    def _member(self, task: str) -> Member:
        if task not in self._members:
            raise InvalidRequestError(f"task {task!r} is not in this matrix: expected it to join first")
        return self._members[task]

    def _read(self) -> Matrix:
        if self._models is None:
            self._models = self._coupling.prox(self._state[_V], self.rho / self.mu if self.mu else 0.0)
        return self._models

    def _recouple(self) -> None:
        """After the tasks have changed: their coupling, mu, and what is known of the optimum."""
        self._best, self._bound = float("inf"), -float("inf")
        self._coupling = self.regularizer.over(list(self._members))
        profiles = [member.profile for member in self._members.values()]
        self._models = None
        if not profiles:
            return
        mu = self.algorithm.scale(self._coupling, self.rho, self.dim, profiles)
        if not self.mu or not 1 / TOLERATED <= mu / self.mu <= TOLERATED:
            self._rescale(mu)
        self._epochs = 0

    def _rescale(self, mu: float) -> None:
        """Change mu. W stays what it was: V - W is a subgradient of rho * g there, divided by mu."""
        if self.mu:
            models = self._read()
            self._state[_V] = models + (self._state[_V] - models) * (self.mu / mu)
        self.mu = mu
        self._best = float("inf")

    def _apply(
        self, task: str, member: Member, sequence: int, correction: Matrix, evidence: Evidence
    ) -> None:
        index = list(self._members).index(task)
        read = member.reads[sequence]
        state = self._state[:, :, index]
        # What was pulled is known here, so the gradient need not travel.
        state[_GRADIENT] = read.mu * (read.model - read.column - correction)
        state[_POINT] = read.model + correction if self.algorithm.implicit else read.model
        state[_CORRECTION] = correction * (read.mu / self.mu)  # as V - W when mu changes
        self._evidence[index] = evidence
        self._longest = max(self._longest, self._updates - read.updates)
        member.delays.append(self._clock() - read.at)
        member.reads.clear()
        member.answered = max(member.answered, sequence)
        delays = Delays(self._longest, float(np.mean(member.delays)))
        step = self.algorithm.relaxation(len(self._members), delays, self._guard) * state[_CORRECTION]
        if self.algorithm.synchronous:
            state[_STEP] = step
        else:
            state[_V] += step
            self._models = None
        member.pushed = True
        member.updates += 1
        self._updates += 1
        self._end_epoch()

    def _end_epoch(self) -> None:
        """Where all tasks have pushed since the last epoch: guard the steps, note the gap."""
        if not self._members or not all(member.pushed for member in self._members.values()):
            return
        for member in self._members.values():
            member.pushed = False
        if self.algorithm.synchronous:
            self._state[_V] += self._state[_STEP]
            self._models = None
        squares = float(np.sum(self._state[_CORRECTION] ** 2))
        if self.algorithm.diverged(squares, self._best):
            self._guard /= 2
        self._best = min(self._best, squares)
        self._epochs += 1
        if self._epochs & (self._epochs - 1) == 0:
            points = max(float(np.linalg.norm(self._state[_POINT])), LEAST_POINTS * self._ridge_norm())
            gradients = float(np.linalg.norm(self._state[_GRADIENT]))
            self._steepest = max(self._steepest, gradients)
            mu = self.algorithm.rescaled(self.mu, points, max(gradients, LEAST_GRADIENTS * self._steepest))
            if mu != self.mu:
                self._rescale(mu)
        gap = self._gap()
        if gap is not None:
            self._history.append(Epoch(self._clock(), self._updates, gap, self._guard, self._longest))

    def _ridge_norm(self) -> float:
        return ridge_norm([member.profile for member in self._members.values()])

    def _gap(self) -> Gap | None:
        if not self._members or not all(member.updates for member in self._members.values()):
            return None
        norm = self._ridge_norm()
        gap = duality_gap(
            self._coupling, self.rho, norm, self._state[_POINT], self._state[_GRADIENT], self._evidence
        )
        self._bound = max(self._bound, gap.bound)
        return Gap(gap.objective, self._bound)
