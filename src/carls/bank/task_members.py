"""The tasks of a matrix: who answers for each, which pulls of theirs are open, and when they were seen."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from carls.errors import InvalidRequestError, TableFullError, UnknownTaskError
from carls.messages import TaskNodeState
from carls.specs.algorithms import Profile, ridge_norm
from carls.specs.regularizer import Matrix

#: Tasks, and elements of V, that there may be.
MAX_TASKS, MAX_ELEMENTS = 4096, 2**24
#: Pulls of a task that may be answered; older ones are superseded.
MAX_READS = 8
#: Nodes that have joined with a task and not pulled yet; older ones are forgotten.
MAX_CLAIMS = 8
#: Profiles of the same data on two machines differ by less, relatively.
ROUNDING = 1e-9


class Claim(NamedTuple):
    """What a node that would answer for a task tells."""

    profile: Profile
    producer: str


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
        claims: of nodes that have joined since, the last one at the end. One answers from its first pull on,
            so that what a dead node has sent, and comes late, stops nobody.
        producer: of that node.
        seen: seconds on the matrix's clock when it last joined, pulled or pushed.
        updates: its pushes that were applied.
        answered: the last pull whose push moved its column.
        pushed: whether it has pushed in this epoch.
        told: whether a push since the last join said what its loss is.
        behind: pushes of others between the last answered pull and its push.
        reads: its pulls that may be answered, by their numbers.
        delays: seconds of its last pushes.
    """

    profile: Profile
    node: str
    producer: str
    seen: float
    updates: int = 0
    answered: int = -1
    pushed: bool = False
    told: bool = False
    behind: int = -1
    claims: dict[str, Claim] = field(default_factory=dict)
    reads: dict[int, Read] = field(default_factory=dict)
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    def told_before(self, profile: Profile) -> bool:
        """Whether a profile says what this one does, but for rounding: other machines add up otherwise."""
        pairs = zip(profile, self.profile, strict=True)
        return all(math.isclose(new, old, rel_tol=ROUNDING) for new, old in pairs)

    def claim(self, node: str, claim: Claim) -> None:
        """Remember that a node would answer, and forget the oldest of many."""
        self.claims.pop(node, None)
        self.claims[node] = claim
        if len(self.claims) > MAX_CLAIMS:
            del self.claims[next(iter(self.claims))]

    def took_over(self, node: str) -> None:
        """Let a node that claims to answer: those that joined before it do not any more, and what they have
        pulled is not answered."""
        joined = list(self.claims)
        for before in joined[: joined.index(node) + 1]:
            del self.claims[before]
        if node != self.node:
            self.node = node
            self.reads.clear()

    def open(self, sequence: int, read: Read) -> None:
        """Remember a pull, and forget the oldest one of many."""
        self.reads[sequence] = read
        if len(self.reads) > MAX_READS:
            del self.reads[next(iter(self.reads))]

    def answer(self, sequence: int, updates: int, now: float) -> Read:
        """What the pull that is answered now gave, after so many updates; it and all others are done with."""
        read = self.reads[sequence]
        self.behind = updates - read.updates
        self.delays.append(now - read.at)
        self.reads.clear()
        self.answered = max(self.answered, sequence)
        self.pushed = self.told = True
        self.updates += 1
        return read

    def state(self, task: str, now: float) -> TaskNodeState:
        """What is told of it."""
        delays = list(self.delays) or [-1.0]
        mean = math.fsum(delays) / len(delays)
        seen = max(now - self.seen, 0.0)
        return TaskNodeState(task, self.producer, self.updates, delays[-1], mean, self.behind, seen)


class TaskMembers:
    """The tasks that are there, in the order of their columns. Not for several threads at once.

    Args:
        dim: elements of a task's model.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._members: dict[str, Member] = {}
        self._expected = 0
        self._until: float | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    @property
    def names(self) -> list[str]:
        """Of the tasks."""
        return list(self._members)

    @property
    def profiles(self) -> list[Profile]:
        """Of the tasks."""
        return [member.profile for member in self]

    @property
    def ridge_norm(self) -> float:
        """The norm of all tasks' own ridge solutions."""
        return ridge_norm(self.profiles)

    @property
    def all_pushed(self) -> bool:
        """Whether there are tasks, and all have pushed in this epoch."""
        return bool(self) and all(member.pushed for member in self)

    def expect(self, tasks: int, until: float) -> None:
        """So many tasks of a matrix that is gone are on their way to this one; wait for them until then.

        There is one wait: tasks that come after it has ended find the others at work.
        """
        if self._until is None:
            self._until = until
        self._expected = max(self._expected, tasks)

    def gathering(self, now: float) -> bool:
        """Whether tasks are on their way here."""
        return self._until is not None and now < self._until and len(self) < self._expected

    def find(self, task: str) -> Member | None:
        """The task, if it is there."""
        return self._members.get(task)

    def index(self, task: str) -> int:
        """The place of its column.

        Raises:
            UnknownTaskError: it is not there.
        """
        if task not in self._members:
            raise UnknownTaskError(f"task {task!r:.140} is not in this matrix: expected it to join first")
        return self.names.index(task)

    def of(self, task: str, node: str) -> Member:
        """The task, for the node that answers for it.

        Raises:
            UnknownTaskError: it is not there.
            InvalidRequestError: another node answers for it.
        """
        self.index(task)
        member = self._members[task]
        if member.node != node:
            raise InvalidRequestError(
                f"task {task!r} was joined by another node since, of {member.producer!r}: expected one node "
                "at a time. Stop one of them, or give it a task name of its own; joining again takes it back"
            )
        return member

    def with_profile(self, task: str, profile: Profile) -> dict[str, Profile]:
        """All profiles, as they would be with this one.

        Raises:
            TableFullError: there are as many tasks as there may be.
        """
        profiles = dict(zip(self.names, self.profiles, strict=True)) | {task: profile}
        if len(profiles) > MAX_TASKS or len(profiles) * self._dim > MAX_ELEMENTS:
            raise TableFullError(
                f"task {task!r}: there are {len(self)} tasks of dim {self._dim}: expected at most "
                f"{MAX_TASKS} tasks, and {MAX_ELEMENTS} numbers in all their models"
            )
        return profiles

    def add(self, task: str, member: Member) -> None:
        """Put a task behind the others."""
        self._members[task] = member

    def remove(self, task: str) -> None:
        """Take a task out; it is not waited for."""
        del self._members[task]
        self._expected -= 1

    def states(self, now: float) -> tuple[TaskNodeState, ...]:
        """What is told of each."""
        return tuple(member.state(task, now) for task, member in self._members.items())
