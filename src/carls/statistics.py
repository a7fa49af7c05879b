"""What a bank counts about each table: frozen values, with a JSON form that builds them again.

All counts start when the table is opened for the first time and end with it; those of a bank
in memory end with the bank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from carls.errors import InvalidValueError

V = TypeVar("V", bound="_Value")

#: Buckets of a histogram.
BUCKETS = 64
#: Unit of the histograms of seconds.
MILLISECOND = 0.001
#: What a histogram's JSON form says beside its counts.
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


class _Value:
    """Facts with names, to JSON and back."""

    #: What the facts are that are values themselves, or tuples of them.
    _parts: ClassVar[Mapping[str, type[_Value]]] = {}

    def to_json(self) -> dict[str, Any]:
        """The value as JSON-able facts; `from_json` builds an equal one from them."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls: type[V], facts: Any) -> V:
        """The value that `to_json` described; facts that it does not know are ignored.

        Raises:
            InvalidValueError: the facts describe none.
        """
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        if not isinstance(facts, Mapping) or not all(name in facts for name in names):
            raise InvalidValueError(f"{facts!r:.60} as {cls.__name__}: expected an object with {names}")
        told = {name: facts[name] for name in names}
        for name, kind in cls._parts.items():
            part = told[name]
            if isinstance(part, list):
                told[name] = tuple(map(kind.from_json, part))
            elif part is not None:
                told[name] = kind.from_json(part)
        return cls(**told)


@dataclass(frozen=True)
class Histogram(_Value):
    """How many rows had an age of about so much, in buckets of powers of two.

    Bucket 0 has the ages below one unit, bucket b those from 2**(b-1) on and below 2**b units.

    Attributes:
        unit: 1 for steps, so that bucket 0 has the ages of 0 steps; 0.001 for seconds.
        counts: rows in each bucket, without zeros at the end; at most 64.
    """

    unit: float
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.unit not in (1, MILLISECOND):
            raise InvalidValueError(f"unit={self.unit!r:.60}: expected 1 or {MILLISECOND}")
        if not isinstance(self.counts, tuple | list) or len(self.counts) > BUCKETS:
            raise InvalidValueError(f"counts={self.counts!r:.60}: expected at most {BUCKETS} counts")
        counts = [_check_count("counts", count) for count in self.counts]
        while counts and counts[-1] == 0:
            counts.pop()
        object.__setattr__(self, "counts", tuple(counts))

    @property
    def total(self) -> int:
        """Rows in all buckets."""
        return sum(self.counts)

    def below(self, share: float) -> float | None:
        """The least bucket end that at least `share` (above 0, at most 1) of the rows are below.

        A quantile, rounded up to a power of two units; None where there are no rows.
        """
        if not 0 < share <= 1:
            raise InvalidValueError(f"share={share!r}: expected a number above 0 and at most 1")
        wanted, seen = share * self.total, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return self.unit * float(1 << bucket)
        return None

    def to_json(self) -> dict[str, Any]:
        """The histogram as JSON-able facts, with some quantiles of it."""
        below = {name: self.below(share) for name, share in QUANTILES.items()}
        return super().to_json() | {"below": below}


@dataclass(frozen=True)
class Counters(_Value):
    """What happened to a table.

    A key that repeats in a request counts each time, except where gradients of equal keys are
    summed. Of the keys looked up, those that are neither `created` nor `missed` nor `stale` were
    fresh. Scans and searches count as no look-up. Requests that a client refuses itself never reach the bank.

    Attributes:
        lookups: look-up requests answered; a client makes several of one call above 16 MiB.
        looked_up: keys in them.
        created: keys looked up whose row the look-up made.
        missed: keys looked up that had no row and got none.
        stale: keys looked up whose row was there, but not within the asked bounds of age.
        writes: requests to assign rows or push gradients that were applied.
        written: row versions made by them; in lazy tables, contributions to rows.
        clipped: row versions whose gradient the optimizer clipped.
        outliers: contributions whose norm was far above the row's mean; clipped or dropped.
        discarded: contributions that waited for a row that was erased, evicted or expired.
        dropped: keys of such requests whose values or gradients were dropped, as they had no row
            and got none: not admitted, or no room.
        erased: rows removed by requests to erase.
        evicted: rows that went for others, by the table's limits.
        expired: rows whose time was over when they were met or swept.
        unadmitted: keys among those `missed` that a training look-up gave their initial value but no
            row: not admitted yet, or no room.
        rejected: requests to write or erase that were answered with an error and changed nothing.
        retried: requests to write or erase that repeated one that had been applied, and so
            changed nothing.
        searches: requests to search that were answered; a client makes several of one large call.
        queries: in them.
    """

    lookups: int = 0
    looked_up: int = 0
    created: int = 0
    missed: int = 0
    stale: int = 0
    writes: int = 0
    written: int = 0
    clipped: int = 0
    outliers: int = 0
    discarded: int = 0
    dropped: int = 0
    erased: int = 0
    evicted: int = 0
    expired: int = 0
    unadmitted: int = 0
    rejected: int = 0
    retried: int = 0
    searches: int = 0
    queries: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_count(field.name, getattr(self, field.name))

    @property
    def fresh(self) -> int:
        """Keys looked up whose row was there and within the asked bounds of age."""
        return self.looked_up - self.created - self.missed - self.stale


@dataclass(frozen=True)
class ReaderStatistics(_Value):
    """One reader of a table, and the age of the rows that it read.

    Read are the rows that were there before the look-up: not those that it created or missed.

    Attributes:
        name: as given to `carls.connect(producer=...)`; "(others)" for all beyond the first 255.
        lookups: as in `Counters`, like those that follow.
        looked_up:
        created:
        missed:
        stale:
        steps: the reader's step minus the row's, for look-ups with `at_step`.
        ahead: rows read by such look-ups whose step is above the reader's; not in `steps`.
        unsaid: rows read by such look-ups whose writer never said a step; not in `steps`.
        seconds: time since the row's last write, for all look-ups.
    """

    _parts = {"steps": Histogram, "seconds": Histogram}  # noqa: RUF012
    name: str
    lookups: int
    looked_up: int
    created: int
    missed: int
    stale: int
    steps: Histogram
    ahead: int
    unsaid: int
    seconds: Histogram

    def __post_init__(self) -> None:
        _check_type("name", self.name, str)
        for name in ("lookups", "looked_up", "created", "missed", "stale", "ahead", "unsaid"):
            _check_count(name, getattr(self, name))
        _check_type("steps", self.steps, Histogram)
        _check_type("seconds", self.seconds, Histogram)


@dataclass(frozen=True)
class ProducerStatistics(_Value):
    """One producer of a table's rows.

    Attributes:
        name: as given to `carls.connect(producer=...)`; "(others)" for all beyond the first 255.
        written: row versions that it made.
        step: the highest step that it said; -1 if it never did.
        age: seconds since its last write.
    """

    name: str
    written: int
    step: int
    age: float

    def __post_init__(self) -> None:
        _check_type("name", self.name, str)
        _check_count("written", self.written)
        if type(self.step) is not int or self.step < -1:
            raise InvalidValueError(f"step={self.step!r:.60}: expected an integer of at least -1")
        _check_seconds("age", self.age)


@dataclass(frozen=True)
class MemoryStatistics(_Value):
    """What is in a Gaussian memory, and what it was told; loading a memory takes these numbers over.

    Attributes:
        clusters: that are there now.
        calls: look-ups that updated or grew it.
        points: absorbed by them.
        refused_bootstrap: points that were farther than the threshold but made no cluster, since there
            had not been more calls than its bootstrap steps.
        refused_full: likewise, since there were as many clusters as there may be.
    """

    clusters: int
    calls: int
    points: int
    refused_bootstrap: int
    refused_full: int

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_count(field.name, getattr(self, field.name))


@dataclass(frozen=True)
class TaskStatistics(_Value):
    """A table of tasks: how far it is.

    Attributes:
        tasks: that are there now.
        updates: pushes that were applied.
        duplicates: pushes that came again, and changed nothing.
        superseded: pushes that came too late, and changed nothing.
        epochs: times that all tasks had pushed once more, since the tasks or what they told last changed.
        objective: of the points that nodes evaluated last; None until each task has pushed, like `bound`.
        bound: the optimum is not below it.
    """

    tasks: int
    updates: int
    duplicates: int
    superseded: int
    epochs: int
    objective: float | None
    bound: float | None

    def __post_init__(self) -> None:
        for name in ("tasks", "updates", "duplicates", "superseded", "epochs"):
            _check_count(name, getattr(self, name))
        for name in ("objective", "bound"):
            value = getattr(self, name)
            if value is not None and (type(value) not in (int, float) or not abs(value) < float("inf")):
                raise InvalidValueError(f"{name}={value!r:.60}: expected a finite number, or None")


@dataclass(frozen=True)
class IndexStatistics(_Value):
    """The index of a table.

    Attributes:
        policy: what it is like, as JSON-able facts.
        rows: in its lists.
        changed: rows that every search looks at: written since they were put into lists, or, before
            the index is built, all.
        lists: that it has.
        builds: how often it was built.
        age: seconds since it was last up to date with the rows of then; None before it is built.
        failure: why the last refresh failed; "" if it did not.
    """

    policy: dict[str, Any]
    rows: int
    changed: int
    lists: int
    builds: int
    age: float | None
    failure: str

    def __post_init__(self) -> None:
        _check_type("policy", self.policy, dict)
        for name in ("rows", "changed", "lists", "builds"):
            _check_count(name, getattr(self, name))
        if self.age is not None:
            _check_seconds("age", self.age)
        _check_type("failure", self.failure, str)


@dataclass(frozen=True)
class TableStatistics(_Value):
    """A table: how large it is, what happened to it, who wrote its rows and who read them.

    Attributes:
        name: of the table.
        kind: "embedding", "feature", "gaussian_memory" or "tasks".
        keys: type of the keys: "int64", "string" or "bytes"; None until the first use fixes it.
        rows: that are there now; of a memory, clusters; of a table of tasks, those.
        nbytes: memory taken by rows, keys, index, admission and gradients that wait.
        counters: what happened to it.
        producers: who wrote rows, by name.
        readers: who looked rows up, by name.
        pending: contributions that wait for rows now; always 0 in tables that are not lazy.
        memory: what is told of a Gaussian memory, whose points count as keys and rows above; None for others.
        index: of an embedding table that has one.
        tasks: of a table of tasks; None for others.
    """

    _parts = {  # noqa: RUF012
        "counters": Counters,
        "producers": ProducerStatistics,
        "readers": ReaderStatistics,
        "memory": MemoryStatistics,
        "index": IndexStatistics,
        "tasks": TaskStatistics,
    }
    name: str
    kind: str
    keys: str | None
    rows: int
    nbytes: int
    counters: Counters
    producers: tuple[ProducerStatistics, ...]
    readers: tuple[ReaderStatistics, ...]
    pending: int = 0
    memory: MemoryStatistics | None = None
    index: IndexStatistics | None = None
    tasks: TaskStatistics | None = None

    def __post_init__(self) -> None:
        _check_type("name", self.name, str)
        _check_type("kind", self.kind, str)
        if self.keys is not None:
            _check_type("keys", self.keys, str)
        _check_count("rows", self.rows)
        _check_count("nbytes", self.nbytes)
        _check_count("pending", self.pending)
        _check_type("counters", self.counters, Counters)
        _check_all("producers", self.producers, ProducerStatistics)
        _check_all("readers", self.readers, ReaderStatistics)
        if self.memory is not None:
            _check_type("memory", self.memory, MemoryStatistics)
        if self.index is not None:
            _check_type("index", self.index, IndexStatistics)
        if self.tasks is not None:
            _check_type("tasks", self.tasks, TaskStatistics)


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    return value.to_json() if isinstance(value, _Value) else value


def _check_count(name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise InvalidValueError(f"{name}={value!r:.60}: expected an integer of at least 0")
    return value


def _check_seconds(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise InvalidValueError(f"{name}={value!r:.60}: expected a number of at least 0")


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise InvalidValueError(f"{name}={value!r:.60}: expected a {kind.__name__}")


def _check_all(name: str, values: Any, kind: type) -> None:
    _check_type(name, values, tuple)
    for value in values:
        _check_type(name, value, kind)
