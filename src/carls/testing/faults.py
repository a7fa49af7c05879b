"""A transport that fails on demand: lost requests and replies, duplicates, late arrivals, cuts."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from carls.client import Bank, connect
from carls.client.transport import Transport
from carls.errors import CarlsError, DeadlineExceededError, OutcomeUnknownError, UnavailableError
from carls.messages import Reply, Request


class Fault(enum.Enum):
    """What happens to one call."""

    NONE = "none"
    CUT = "cut"  #: the bank cannot be reached; nothing is sent
    LOSE_REQUEST = "lose request"  #: sent, never arrives
    LOSE_REPLY = "lose reply"  #: arrives and is done; the reply is lost
    DUPLICATE = "duplicate"  #: arrives twice
    LATE = "late"  #: arrives only after the next call has been answered


class FaultyTransport:
    """Carries requests through another transport, with faults as scheduled.

    Args:
        inner: carries what gets through.
        faults: what happens to each call with a table's or model's name in it, in order;
            after the last one nothing happens any more.

    Attributes:
        happened: the faults so far.
    """

    def __init__(self, inner: Transport, faults: Iterable[Fault]) -> None:
        self._inner = inner
        self._faults = iter(faults)
        self._late: list[Request] = []
        self.happened: list[Fault] = []
        self.url = inner.url

    @property
    def bank_id(self) -> str:
        """As the inner transport's."""
        return self._inner.bank_id

    @bank_id.setter
    def bank_id(self, value: str) -> None:
        self._inner.bank_id = value

    def call(self, request: Request, timeout_s: float) -> Reply:
        """The reply, unless the schedule has a fault for this call."""
        if not hasattr(request, "write"):
            return self._inner.call(request, timeout_s)
        fault = next(self._faults, Fault.NONE)
        self.happened.append(fault)
        if fault is Fault.CUT:
            raise UnavailableError(f"{self.url}: cut off by a test", bank=self.url)
        if fault is Fault.LOSE_REQUEST:
            raise self._unknown(request)
        if fault is Fault.LATE:
            self._late.append(request)
            raise self._unknown(request)
        reply = self._inner.call(request, timeout_s)
        if fault is Fault.DUPLICATE:
            reply = self._inner.call(request, timeout_s)
        self._deliver_late(timeout_s)
        if fault is Fault.LOSE_REPLY:
            raise self._unknown(request)
        return reply

    def close(self) -> None:
        """Deliver what is late, then close the inner transport."""
        self._deliver_late(1.0)
        self._inner.close()

    def _deliver_late(self, timeout_s: float) -> None:
        late, self._late = self._late, []
        for request in late:
            try:
                self._inner.call(request, timeout_s)
            except CarlsError:
                # Nobody waits for this reply: a bank may refuse what has been overtaken.
                continue

    def _unknown(self, request: Any) -> DeadlineExceededError:
        return OutcomeUnknownError(f"{type(request).__name__}: no reply, says a test", bank=self.url)


def connect_with_faults(url: str | None, faults: Iterable[Fault], *, producer: str = "tester") -> Bank:
    """A bank as `carls.connect` gives it, whose writes meet the given faults."""
    bank = connect(url, producer=producer)
    bank._transport = FaultyTransport(bank._transport, faults)
    return bank
