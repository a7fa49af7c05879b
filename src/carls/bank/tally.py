"""The tally of a table: what happened to it, who wrote it and who read it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from carls import _core
from carls.bank.checks import check_producer
from carls.bank.clock import TICKS_PER_S
from carls.bank.producers import OTHERS
from carls.errors import CarlsError
from carls.messages import Reply
from carls.statistics import MILLISECOND, Counters, Histogram, ProducerStatistics, ReaderStatistics

#: Readers and producers that a table's tally names, "(others)" among them.
MAX_NAMES = 256


class Written(NamedTuple):
    """What one write did: row versions made or contributed to, those of them whose gradient the optimizer
    clipped at once, and keys whose values or gradients were dropped, as they have no row and got none."""

    rows: int
    clipped: int = 0
    dropped: int = 0


class GrowthCounts(NamedTuple):
    """What limits and policies did to rows and keys: as in `Counters`."""

    evicted: int = 0
    expired: int = 0
    unadmitted: int = 0


class PendingCounts(NamedTuple):
    """Contributions that wait now; and so far: steps made of such whose gradient the optimizer clipped, and
    contributions that were outliers, or went with their rows."""

    waiting: int = 0
    clipped: int = 0
    outliers: int = 0
    discarded: int = 0


@dataclass
class _Producer:
    written: int = 0
    step: int = -1
    ticks: int = 0


class Tally:
    """Counts what happens to one table. Thread-safe; no count is lost.

    Look-ups are counted in the core, by the reader that they are given.
    """

    def __init__(self) -> None:
        self._readers: dict[str, _core.Reader] = {}
        self._producers: dict[str, _Producer] = {}
        self._writes = self._clipped = self._dropped = self._erased = self._rejected = self._retried = 0
        self._searches = self._queries = 0
        self._lock = threading.Lock()

    def reader(self, name: str) -> _core.Reader:
        """The reader that counts the look-ups of `name`."""
        reader = self._readers.get(name)
        if reader is not None:
            return reader
        check_producer(name)
        with self._lock:
            return self._readers.setdefault(_shared(name, self._readers), _core.Reader())

    def write(self, operation: Callable[[], Reply], apply: Callable[[Callable[[], Reply]], Reply]) -> Reply:
        """The reply of `apply(operation)`, which runs the operation if the write is new.

        Counts writes that were refused, and those that were known.
        """
        new = False

        def run() -> Reply:
            nonlocal new
            new = True
            return operation()

        try:
            reply = apply(run)
        except CarlsError:
            with self._lock:
                self._rejected += 1
            raise
        if not new:
            with self._lock:
                self._retried += 1
        return reply

    def wrote(self, producer: str, step: int, ticks: int, written: Written) -> None:
        """Count a write of `producer` at `ticks` of the bank's clock; `step` as it said, -1 if not."""
        with self._lock:
            self._writes += 1
            self._clipped += written.clipped
            self._dropped += written.dropped
            known = self._producers.setdefault(_shared(producer, self._producers), _Producer())
            known.written += written.rows
            known.step = max(known.step, int(step))
            known.ticks = max(known.ticks, ticks)

    def erased(self, rows: int) -> None:
        """Count rows that were erased."""
        with self._lock:
            self._erased += rows

    def searched(self, queries: int) -> None:
        """Count a search of so many queries."""
        with self._lock:
            self._searches += 1
            self._queries += queries

    def counters(
        self,
        readers: tuple[ReaderStatistics, ...],
        growth: GrowthCounts = GrowthCounts(),  # noqa: B008 - frozen
        pending: PendingCounts = PendingCounts(),  # noqa: B008 - frozen
    ) -> Counters:
        """All counts, look-ups as those of `readers`."""
        with self._lock:
            return Counters(
                lookups=sum(reader.lookups for reader in readers),
                looked_up=sum(reader.looked_up for reader in readers),
                created=sum(reader.created for reader in readers),
                missed=sum(reader.missed for reader in readers),
                stale=sum(reader.stale for reader in readers),
                writes=self._writes,
                written=sum(producer.written for producer in self._producers.values()),
                clipped=self._clipped + pending.clipped,
                outliers=pending.outliers,
                discarded=pending.discarded,
                dropped=self._dropped,
                erased=self._erased,
                **growth._asdict(),
                rejected=self._rejected,
                retried=self._retried,
                searches=self._searches,
                queries=self._queries,
            )

    def readers(self) -> tuple[ReaderStatistics, ...]:
        """All readers, by name."""
        with self._lock:
            readers = sorted(self._readers.items())
        return tuple(_reader_statistics(name, reader) for name, reader in readers)

    def producers(self, now: int) -> tuple[ProducerStatistics, ...]:
        """All producers, by name; `now` is the bank's clock."""
        with self._lock:
            return tuple(
                ProducerStatistics(name, it.written, it.step, max(now - it.ticks, 0) / TICKS_PER_S)
                for name, it in sorted(self._producers.items())
            )


def _shared(name: str, known: Mapping[str, object]) -> str:
    return name if name in known or len(known) < MAX_NAMES - 1 else OTHERS


def _reader_statistics(name: str, reader: _core.Reader) -> ReaderStatistics:
    counts = reader.counts()
    steps = Histogram(1, counts.pop("steps"))
    seconds = Histogram(MILLISECOND, counts.pop("milliseconds"))
    return ReaderStatistics(name=name, steps=steps, seconds=seconds, **counts)
