"""What all tables of the engine share: a name, a spec, what was announced and what happened."""

from __future__ import annotations

from typing import Generic, TypeVar

from carls.bank.announcements import Announcements
from carls.bank.tally import GrowthCounts, PendingCounts, Tally
from carls.messages import LearningRate
from carls.specs import TableSpec
from carls.statistics import IndexStatistics, MemoryStatistics, TableStatistics, TaskStatistics

S = TypeVar("S", bound=TableSpec)


class Table(Generic[S]):
    """One table.

    Attributes:
        name: of the table.
        spec: of the table.
        announcements: how new its makers say that it is.
        tally: of what happened to it.
    """

    def __init__(self, name: str, spec: S) -> None:
        self.name = name
        self.spec: S = spec
        self.announcements = Announcements(name)
        self.tally = Tally()

    def accepts(self, spec: TableSpec) -> bool:
        """Whether the table may be opened with `spec`."""
        return self.spec.accepts(spec)

    def open(self, spec: TableSpec) -> bool:
        """As `accepts`; if so, what the table's own spec leaves open is fixed by `spec`."""
        return self.accepts(spec)

    def close(self) -> None:
        """End what goes on in the background, and wake who waits: the table goes, or its bank."""
        self.announcements.close()

    def learning_rates(self, now_s: float) -> tuple[LearningRate, ...]:  # noqa: ARG002
        """The rates that took the place of the spec's, oldest first."""
        return ()

    def statistics(self, now: int) -> TableStatistics:
        """What the tally says; `now` is the bank's clock."""
        readers, pending = self.tally.readers(), self.pending()
        return TableStatistics(
            name=self.name,
            kind=self.spec.kind,
            keys=self.key_type,
            rows=len(self),
            nbytes=self.nbytes,
            counters=self.tally.counters(readers, self.growth(), pending),
            producers=self.tally.producers(now),
            readers=readers,
            memory=self.memory_statistics,
            pending=pending.waiting,
            index=self.index_statistics(now),
            tasks=self.task_statistics,
        )

    @property
    def key_type(self) -> str | None:
        """The type of its keys; None while it is open, and where there are none."""
        return None

    def index_statistics(self, now: int) -> IndexStatistics | None:  # noqa: ARG002
        """What its index has done, if it has one; `now` is the bank's clock."""
        return None

    def growth(self) -> GrowthCounts:
        """What happened to rows for want of room or of time."""
        return GrowthCounts()

    def pending(self) -> PendingCounts:
        """What waits for rows, and what happened to that."""
        return PendingCounts()

    @property
    def memory_statistics(self) -> MemoryStatistics | None:
        """What a memory tells beside; None where the table is none."""
        return None

    @property
    def task_statistics(self) -> TaskStatistics | None:
        """What a table of tasks tells beside; None where the table is none."""
        return None

    @property
    def nbytes(self) -> int:
        """Bytes that the table takes."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
