"""Writes: applied once each, stamped with producer and time, and counted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from carls.bank.checks import check_producer
from carls.bank.clock import Clock
from carls.bank.ledger import Ledger
from carls.bank.producers import Producers
from carls.bank.tables import Table
from carls.bank.tally import Written
from carls.messages import Done, Meta, Reply, WriteId


class Write(Protocol):
    """A request that changes a table."""

    @property
    def table(self) -> str: ...
    @property
    def write(self) -> WriteId: ...


class StampedWrite(Write, Protocol):
    """A write of a producer, at a step of theirs."""

    @property
    def step(self) -> int: ...
    @property
    def producer(self) -> str: ...


class RowsMoved(Write, Protocol):
    """Rows that come from elsewhere, with what was known of them there."""

    @property
    def meta(self) -> Meta: ...
    @property
    def producers(self) -> tuple[str, ...]: ...
    @property
    def producer(self) -> str: ...


class Writes:
    """What all writes to a bank go through.

    Attributes:
        clock: of the bank.
        producers: names of who wrote, by number.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.producers = Producers()
        self._ledger = Ledger()

    def stamped(self, request: StampedWrite, table: Table[Any], write: Callable[..., Written]) -> Reply:
        """Apply a write, once: `write(step, producer, now)` says what it did."""

        def apply() -> Done:
            producer, now = self.producers.number(request.producer), self.clock.ticks()
            written = write(request.step, producer, now)
            table.tally.wrote(request.producer, request.step, now, written)
            return Done()

        return self.once(request, table, apply)

    def restored(self, request: RowsMoved, table: Table[Any], restore: Callable[..., Written]) -> Reply:
        """Set rows to what they were elsewhere, once: `restore(meta, now)` says what it did."""

        def apply() -> Done:
            producer, now, meta = check_producer(request.producer), self.clock.ticks(), request.meta.copy()
            meta["producer"] = self.producers.renumber(meta["producer"], request.producers)
            table.tally.wrote(producer, -1, now, restore(meta, now))
            return Done()

        return self.once(request, table, apply)

    def once(self, request: Write, table: Table[Any], operation: Callable[[], Reply]) -> Reply:
        """The reply of `operation`, run only if the request is new to the table; counted either way."""
        apply = partial(self._ledger.apply, request.write, request.table)
        return table.tally.write(operation, apply)

    def uncounted(self, write: WriteId, sequence: str, operation: Callable[[], Reply]) -> Reply:
        """The reply of `operation`, run only if `write` is new among those of its client to `sequence`: a
        table's name, or one with a slash, which no table has."""
        return self._ledger.apply(write, sequence, operation)

    def fence(self, clients: Collection[str]) -> None:
        """Refuse all further writes of these clients; waits for those that are being applied."""
        if clients:
            self._ledger.fence(clients)

    def forget_table(self, table: str) -> None:
        """Forget all writes to a dropped table."""
        self._ledger.forget_table(table)
