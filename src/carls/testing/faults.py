"""A transport that fails on demand: lost requests and replies, duplicates, late arrivals, cuts."""

from __future__ import annotations

import copy
import enum
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from carls.client import Bank, connect
from carls.client.local import LocalTransport
from carls.client.transport import Transport
from carls.errors import (
    BankRestartedError,
    CarlsError,
    DeadlineExceededError,
    LimitReachedError,
    OutcomeUnknownError,
    UnavailableError,
)
from carls.messages import BankInfo, DescribeBank, PushTask, Reply, Request

#: Gives a transport to a new, empty bank in the place of the one before.
Restart = Callable[[], Transport]


class Fault(enum.Enum):
    """What happens to one write."""

    NONE = "none"
    CUT = "cut"  #: the bank cannot be reached; nothing is sent
    FULL = "full"  #: the bank takes no more streams; nothing is applied
    LOSE_REQUEST = "lose request"  #: sent, never arrives
    LOSE_REPLY = "lose reply"  #: arrives and is done; the reply is lost
    DUPLICATE = "duplicate"  #: arrives twice
    LATE = "late"  #: is given up on; arrives after the next write has been answered
    LATER = "later"  #: is given up on; arrives after three more writes have been answered
    ECHO = "echo"  #: is answered, and arrives again after two more writes have been answered
    RESTART = "restart"  #: before it arrives, the bank is replaced by an empty one


class _Late(NamedTuple):
    after: int
    bank: str
    request: Request


class FaultyTransport:
    """Carries requests through another transport, with faults as scheduled. Nothing here waits:
    what is late arrives after so many other writes.

    Args:
        inner: carries what gets through; closed with this transport.
        faults: what happens to each write, in order; after the last one nothing happens any more.
            A restart breaks no other call: reads and the opening of tables meet the new bank.
        restart: makes the bank of `Fault.RESTART`.

    Attributes:
        happened: the faults so far.
    """

    def __init__(self, inner: Transport, faults: Iterable[Fault], restart: Restart = LocalTransport) -> None:
        self._wire = _Wire(inner, restart)
        self._faults = iter(faults)
        self.happened: list[Fault] = []
        self.bank_id = inner.bank_id
        self.url = inner.url

    def for_bank(self, bank_id: str) -> FaultyTransport:
        """The same wire and faults, for requests meant for a bank of that id."""
        other = copy.copy(self)
        other.bank_id = bank_id
        return other

    def call(self, request: Request, timeout_s: float) -> Reply:
        """The reply, unless the schedule has a fault for this call."""
        wire = self._wire
        if not hasattr(request, "write") and not isinstance(request, PushTask):
            return wire.carry(self.bank_id, request, timeout_s)
        with wire.lock:
            fault = next(self._faults, Fault.NONE)
            self.happened.append(fault)
            if fault is Fault.RESTART:
                wire.replace(timeout_s)
        if fault is Fault.CUT:
            raise UnavailableError(f"{self.url}: cut off by a test", bank=self.url)
        if fault is Fault.FULL:
            raise LimitReachedError(f"{self.url}: no more streams, says a test", bank=self.url)
        if fault in _LATE:
            wire.hold(self.bank_id, request, _LATE[fault])
        if fault in (Fault.LOSE_REQUEST, Fault.LATE, Fault.LATER):
            raise self._unknown(request)
        try:
            if fault is Fault.DUPLICATE:
                wire.carry(self.bank_id, request, timeout_s)
            reply = wire.carry(self.bank_id, request, timeout_s)
        finally:
            wire.deliver_late(1, timeout_s)
        if fault is Fault.LOSE_REPLY:
            raise self._unknown(request)
        return reply

    def deliver_late(self) -> None:
        """Have everything arrive that is late still."""
        self._wire.deliver_late(max(_LATE.values()), 1.0)

    def close(self) -> None:
        """Deliver what is late, then close the inner transport."""
        self.deliver_late()
        self._wire.close()

    def _unknown(self, request: Any) -> DeadlineExceededError:
        # No handle keeps an answer to a pull: its sender repeats it.
        kind = OutcomeUnknownError if hasattr(request, "write") else DeadlineExceededError
        return kind(f"{type(request).__name__}: no reply, says a test", bank=self.url)


class _Wire:
    """What all views of a faulty transport share: the bank behind it, and what is late."""

    def __init__(self, inner: Transport, restart: Restart) -> None:
        self.lock = threading.Lock()
        self._inner = inner
        self._old: list[Transport] = []
        self._restart = restart
        self._late: list[_Late] = []
        self._answered = 0

    def carry(self, meant: str, request: Request, timeout_s: float) -> Reply:
        """The reply of the bank that is there, if it is the one that is meant."""
        inner = self._inner
        # A bank in this process does not look at the id.
        if meant and inner.bank_id not in ("", meant) and not isinstance(request, DescribeBank):
            raise BankRestartedError(f"{inner.url}: replaced by a test", bank=inner.url)
        return inner.for_bank(meant).call(request, timeout_s)

    def replace(self, timeout_s: float) -> None:
        """Put a new, empty bank in the place of the one that is there."""
        inner = self._restart()
        info = inner.call(DescribeBank(), timeout_s)
        assert isinstance(info, BankInfo)
        # Closed in the end only: other threads may be in the middle of a call.
        self._old.append(self._inner)
        self._inner = inner.for_bank(info.id)

    def hold(self, meant: str, request: Request, writes: int) -> None:
        """Keep a request until so many writes have been answered."""
        # A copy, since it must arrive as it was sent, whatever its caller does with the arrays.
        with self.lock:
            self._late.append(_Late(self._answered + writes, meant, copy.deepcopy(request)))

    def deliver_late(self, answered: int, timeout_s: float) -> None:
        """Count answered writes, and have arrive what has been late for long enough."""
        with self.lock:
            self._answered += answered
            due = [late for late in self._late if late.after <= self._answered]
            self._late = [late for late in self._late if late.after > self._answered]
        for late in due:
            try:
                self.carry(late.bank, late.request, timeout_s)
            except CarlsError:
                # Nobody waits for this reply: a bank may refuse what has been overtaken.
                continue

    def close(self) -> None:
        for transport in (*self._old, self._inner):
            transport.close()


#: How many writes must be answered before a late one arrives; an echo's own answer counts.
_LATE = {Fault.LATE: 1, Fault.LATER: 3, Fault.ECHO: 3}


def connect_with_faults(
    url: str | None,
    faults: Iterable[Fault],
    *,
    producer: str = "tester",
    restart: Restart = LocalTransport,
) -> Bank:
    """A bank as `carls.connect` gives it, whose writes meet the given faults."""
    bank = connect(url, producer=producer)
    # The other bank owns the transport from here on.
    bank._finalizer.detach()
    return Bank(FaultyTransport(bank._transport, faults, restart), bank.producer, bank.timeout_s)
