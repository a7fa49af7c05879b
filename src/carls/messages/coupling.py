"""What a table of tasks and its nodes tell each other: pulls, answers, models, and how far it all is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, NamedTuple

from carls.errors import InvalidRequestError
from carls.specs.regularizer import Matrix


class Evidence(NamedTuple):
    """Scalars from which a bank bounds the optimum; all that a node tells about its data.

    With l the loss of a task, evaluated at x, and y its gradient there:

    Attributes:
        loss: l(x).
        square, linear: the conjugate l*(s * y) is at most square * s^2 + linear * s for 0 <= s <= 1.
    """

    loss: float
    square: float
    linear: float


@dataclass(frozen=True)
class Gap:
    """How far from the optimum some models are.

    Attributes:
        objective: sum of losses + rho * g at the models.
        bound: the optimum is not below it.
    """

    objective: float
    bound: float

    @property
    def relative(self) -> float:
        """(objective - bound) / |objective|, at least 0; infinity where only the objective is 0."""
        distance = max(self.objective - self.bound, 0.0)
        if distance == 0:
            return 0.0
        return distance / abs(self.objective) if self.objective else float("inf")


@dataclass(frozen=True, eq=False)
class Pull:
    """What a node works on.

    Attributes:
        sequence: of this pull, never used again; the push that answers it carries it.
        mu: of the algorithm.
        model: w, the task's column of the proximal map, (dim,) float64.
        column: v, the task's column of V, (dim,) float64.
        tasks: how many were coupled.
    """

    sequence: int
    mu: float
    model: Matrix
    column: Matrix
    tasks: int = 0


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
        longest_delay: pushes between a pull and its push, the most in the last hundred epochs.
    """

    at: float
    updates: int
    gap: Gap
    guard: float
    longest_delay: int


@dataclass(frozen=True, eq=False)
class TaskModels:
    """The model of each task, all of one time.

    Attributes:
        tasks: their names.
        values: W, (dim, tasks) float64, a column for each; read-only.
    """

    tasks: tuple[str, ...]
    values: Matrix

    def __post_init__(self) -> None:
        self.values.setflags(write=False)

    def of(self, task: str) -> Matrix:
        """The model of one task: (dim,) float64.

        Raises:
            InvalidRequestError: it is not there.
        """
        if task not in self.tasks:
            raise InvalidRequestError(
                f"no model of task {task!r:.140}: expected one of {list(self.tasks)!s:.300}"
            )
        return self.values[:, self.tasks.index(task)]

    def __len__(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True)
class TaskNodeState:
    """One task, as its table sees the node that answers for it.

    Attributes:
        task: its name.
        producer: who joined with it last.
        updates: its pushes that were applied.
        delay_s: seconds from the last answered pull to its push; -1 before the first.
        mean_delay_s: mean of the last five such delays; -1 before the first.
        behind: pushes of any task that were applied between the last answered pull and its push; -1
            before the first.
        seen_s: seconds since the node last joined, pulled or pushed.
    """

    task: str
    producer: str
    updates: int
    delay_s: float
    mean_delay_s: float
    behind: int
    seen_s: float


@dataclass(frozen=True)
class TaskState:
    """A table of tasks at one time, for those who watch it.

    Attributes:
        nodes: the tasks that are there, in the order of the columns.
        updates: pushes applied since the table was made.
        duplicates: pushes that came again, and changed nothing.
        superseded: pushes that came too late, and changed nothing.
        epochs: times that all tasks had pushed once more, since the tasks or what they told last changed.
        mu: of the algorithm; 0 while there are no tasks.
        guard: 1, or less where steps were halved.
        longest_delay: pushes between a pull and its push, the most in the last hundred epochs.
        gap: of the points that the nodes evaluated last; None until each task has pushed since its node
            joined.
        certified: the smallest gap that was found of these tasks, since a node joined or left last; None
            until each has pushed. It stays where the objective rises again, so that all nodes learn of it.
    """

    nodes: tuple[TaskNodeState, ...]
    updates: int
    duplicates: int
    superseded: int
    epochs: int
    mu: float
    guard: float
    longest_delay: int
    gap: Gap | None
    certified: Gap | None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(node.task for node in self.nodes)

    def to_json(self) -> dict[str, Any]:
        """The state as JSON-able facts."""
        return asdict(self)
