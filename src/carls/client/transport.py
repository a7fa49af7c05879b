"""Transport: how requests reach a bank. Three methods, so that a test double is trivial."""

from __future__ import annotations

from typing import Protocol

from carls.messages import Reply, Request


class Transport(Protocol):
    """Carries requests to one bank.

    Attributes:
        url: where the bank is.
        bank_id: id of the bank that requests are meant for, "" while it is not known. A bank of
            another id answers `BankRestartedError`. It never changes, so that no write that was
            made for one bank reaches another one.
    """

    url: str
    bank_id: str

    def for_bank(self, bank_id: str) -> Transport:
        """The same transport, closed with this one, for requests meant for a bank of that id."""
        ...

    def call(self, request: Request, timeout_s: float) -> Reply:
        """Send `request` and wait for its reply at most `timeout_s` seconds. Thread-safe.

        Reads are repeated within the deadline when the bank cannot be reached, writes too,
        under their `WriteId`.

        Raises:
            DeadlineExceededError: no reply in time; `OutcomeUnknownError` for writes that were sent.
            UnavailableError: the bank could not be reached; a write was not sent.
            CarlsError: what the bank answered.
        """
        ...

    def close(self) -> None:
        """Give everything back, in bounded time; closing twice is fine."""
        ...
