"""The errors of carls: one tree, the same classes on both sides of the wire.

    CarlsError
    ├── InvalidRequestError (ValueError)     the request is wrong; nothing was changed
    │   ├── InvalidKeyError                  a key of the wrong type, too long, out of range
    │   ├── InvalidValueError                wrong shape or dtype, NaN, infinity
    │   ├── InvalidSpecError                 a table spec or policy that cannot be
    │   ├── UnknownTaskError                 a task that has not joined its table, or not here
    │   └── RequestTooLargeError             over a stated size limit
    ├── TableError
    │   ├── UnknownTableError                no such table
    │   ├── SpecMismatchError                the table exists with another spec
    │   └── TableFullError                   no room for more rows
    ├── BankError
    │   ├── UnavailableError (ConnectionError)   the bank cannot be reached
    │   ├── BankRestartedError               another bank answers; in-memory rows are gone
    │   ├── ClientForgottenError             the bank no longer knows this client's writes
    │   ├── LimitReachedError                a stated limit of the server was hit
    │   └── DeadlineExceededError (TimeoutError)
    │       └── OutcomeUnknownError          a write that may or may not have been applied
    ├── ClosedError                          the object was closed
    ├── ForkedError                          a handle used in a forked process
    ├── ProtocolError                        the two sides do not speak the same protocol
    ├── NotInThisVersionError (NotImplementedError)
    └── InternalError                        a fault of the bank itself; its log has the traceback

Every message says what was wrong, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "BankError",
    "BankRestartedError",
    "CarlsError",
    "ClientForgottenError",
    "ClosedError",
    "DeadlineExceededError",
    "ForkedError",
    "InternalError",
    "InvalidKeyError",
    "InvalidRequestError",
    "InvalidSpecError",
    "InvalidValueError",
    "LimitReachedError",
    "NotInThisVersionError",
    "OutcomeUnknownError",
    "ProtocolError",
    "RequestTooLargeError",
    "SpecMismatchError",
    "TableError",
    "TableFullError",
    "UnavailableError",
    "UnknownTableError",
    "UnknownTaskError",
]


class CarlsError(Exception):
    """Base of all errors of carls.

    Args:
        message: what was wrong, what was expected, what to do.
        bank: the bank's URL or id, where known.
        table: the table's name, where one is concerned.
        details: JSON-able facts, such as the limit that was hit.
    """

    def __init__(
        self,
        message: str,
        *,
        bank: str | None = None,
        table: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.bank = bank
        self.table = table
        self.details = dict(details or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_json, (self.to_json(),))

    def to_json(self) -> dict[str, Any]:
        """The error as JSON-able facts; `from_json` builds an equal error from them."""
        return {
            "code": type(self).__name__,
            "message": self.message,
            "bank": self.bank,
            "table": self.table,
            "details": self.details,
        }


class InvalidRequestError(CarlsError, ValueError):
    """The request is wrong; nothing was changed."""


class InvalidKeyError(InvalidRequestError):
    """A key of the wrong type, too long or out of range."""


class InvalidValueError(InvalidRequestError):
    """Values or gradients of the wrong shape or dtype, or with NaN or infinity in them."""


class InvalidSpecError(InvalidRequestError):
    """A table spec or a policy whose arguments cannot be."""


class UnknownTaskError(InvalidRequestError):
    """The table of tasks has no such task: join with it first.

    So it is after a bank has started anew, or when somebody took the task out.
    """


class RequestTooLargeError(InvalidRequestError):
    """A request over the size limit that the message names."""


class TableError(CarlsError):
    """Something is wrong with a table as a whole."""


class UnknownTableError(TableError):
    """The bank has no table of that name."""


class SpecMismatchError(TableError):
    """A table was opened with a spec that differs from the existing table's."""


class TableFullError(TableError):
    """The table cannot take more rows."""


class BankError(CarlsError):
    """The bank, or the way to it, failed the call."""


class UnavailableError(BankError, ConnectionError):
    """The bank cannot be reached."""


class BankRestartedError(BankError):
    """Another bank answers at the address: the in-memory rows are gone.

    Raised once by each handle. The handle has opened its table anew when this
    is raised, so the next call works, on an empty table.
    """


class ClientForgottenError(BankError):
    """The bank no longer knows which of this client's writes it has applied.

    The write was not applied. The handle has taken a new identity, so the next call works.
    """


class LimitReachedError(BankError):
    """A limit of the server was hit; the message names the limit and its value."""


class DeadlineExceededError(BankError, TimeoutError):
    """No reply within the deadline."""


class OutcomeUnknownError(DeadlineExceededError):
    """A write got no reply in time: it may or may not have been applied.

    The handle keeps it. `flush()` repeats it under its sequence number, which is safe:
    the bank applies it once, whether the first attempt arrived or not. The handle does
    the same by itself before its next write.
    """


class ClosedError(CarlsError):
    """The object was closed before this call."""


class ForkedError(CarlsError):
    """A handle was used in a process that was forked from the one that made it."""


class ProtocolError(CarlsError):
    """A message that the other side cannot have meant: forged, or of another version."""


class NotInThisVersionError(CarlsError, NotImplementedError):
    """A documented feature that this version does not have yet."""


class InternalError(CarlsError):
    """A fault of the bank itself; its log has the traceback."""


def _tree(root: type[CarlsError]) -> dict[str, type[CarlsError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


_BY_CODE = _tree(CarlsError)


def from_json(facts: Mapping[str, Any]) -> CarlsError:
    """Build the error that `CarlsError.to_json` described.

    An unknown code, as a newer bank may send, becomes a plain `CarlsError`.
    """
    error_class = _BY_CODE.get(str(facts.get("code")), CarlsError)
    return error_class(
        str(facts.get("message", "")),
        bank=facts.get("bank"),
        table=facts.get("table"),
        details=facts.get("details"),
    )
