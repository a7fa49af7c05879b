"""The ledger of writes: each is applied once, however often it arrives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from carls.errors import (
    CarlsError,
    ClientForgottenError,
    InternalError,
    InvalidRequestError,
    ProtocolError,
    from_json,
)
from carls.messages import Reply, WriteId

#: Clients remembered; the one that has been silent longest is forgotten first.
MAX_CLIENTS = 100_000
#: Forgotten clients whose names are kept, so that a late repeat of their first write is refused.
MAX_FORGOTTEN = 1_000_000

#: Characters of a client's name, which is 32 hex digits.
MAX_CLIENT_LENGTH = 64

#: Bytes of arrays in the replies that are kept; beyond them the oldest large one goes.
MAX_KEPT_BYTES = 256 << 20
#: Replies with fewer bytes than this are not counted.
_LARGE = 4096

#: A reply, or the facts of an error. Not the error itself: with its traceback it would keep the
#: request's arrays alive.
_Outcome: TypeAlias = Reply | Mapping[str, Any]


@dataclass
class _Entry:
    """What is known of one client's writes to one table."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sequence: int = 0
    outcome: _Outcome | None = None


class Ledger:
    """Keeps, per (client, table), the highest sequence number seen and its outcome."""

    def __init__(self, max_clients: int = MAX_CLIENTS, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_clients = max_clients
        self._max_kept_bytes = max_kept_bytes
        self._kept_bytes = 0
        #: Large replies, the oldest first: whose they are, and their bytes.
        self._large: OrderedDict[tuple[str, str], tuple[_Entry, int]] = OrderedDict()
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._forgotten: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._fenced: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def apply(self, write: WriteId, table: str, operation: Callable[[], Reply]) -> Reply:
        """Run `operation` if `write` is new, else repeat the outcome that it had.

        Raises:
            ClientForgottenError: the client says it has written before, but is not known; or it was fenced.
            ProtocolError: a write older than the client's last one; it is not applied.
            InvalidRequestError: it was applied, but its reply was too large to be kept for so long.
            CarlsError: as raised by the operation, now or when it was first tried.
        """
        if write.sequence < 1:
            raise InvalidRequestError(f"write number {write.sequence}: expected 1 or more", table=table)
        entry, new = self._entry(write, table), False
        with entry.lock:
            if write.client in self._fenced:
                raise ClientForgottenError(
                    f"write {write.sequence} of client {write.client} was not applied: it wrote under a "
                    "lease, which has run out. Lease again, and write anew what is still wanted",
                    table=table,
                )
            if write.sequence < entry.sequence:
                raise ProtocolError(
                    f"write {write.sequence} of client {write.client} came after its write "
                    f"{entry.sequence}; it was not applied",
                    table=table,
                )
            if write.sequence > entry.sequence:
                # Before anything runs, so that no way out of the operation lets it run again.
                entry.sequence, entry.outcome = write.sequence, _FAILED
                entry.outcome = _outcome(operation)
                new = True
            outcome = entry.outcome
        assert outcome is not None
        if new:
            self._count((write.client, table), entry, _nbytes(outcome))
        if isinstance(outcome, Mapping):
            raise from_json(outcome)
        return outcome

    def forget_table(self, table: str) -> None:
        """Forget all writes to a dropped table."""
        with self._lock:
            for key in [key for key in self._entries if key[1] == table]:
                del self._entries[key]
                self._forget(key)

    def fence(self, clients: Iterable[str]) -> None:
        """Refuse all further writes of these clients; waits for those that are being applied."""
        fenced = set(clients)
        with self._lock:
            self._fenced.update(dict.fromkeys(fenced))
            while len(self._fenced) > MAX_FORGOTTEN:
                self._fenced.popitem(last=False)
            entries = [entry for (client, _), entry in self._entries.items() if client in fenced]
        for entry in entries:
            with entry.lock:
                pass

    def _entry(self, write: WriteId, table: str) -> _Entry:
        key = (write.client, table)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                if len(write.client) > MAX_CLIENT_LENGTH:
                    raise InvalidRequestError(
                        f"client {write.client[:40]!r}...: a name of {len(write.client)} characters; "
                        "expected 32 hex digits",
                        table=table,
                    )
                if not write.first or key in self._forgotten:
                    raise ClientForgottenError(
                        f"the bank does not know client {write.client} on {table!r}; its write "
                        f"{write.sequence} was not applied. The table was dropped, or the client "
                        f"was silent while {self._max_clients} others wrote. The handle has taken a "
                        "new identity: repeat the call if the write is still wanted",
                        table=table,
                    )
                entry = self._entries[key] = _Entry()
                if len(self._entries) > self._max_clients:
                    self._forget(self._entries.popitem(last=False)[0])
            else:
                self._entries.move_to_end(key)
        return entry

    def _count(self, key: tuple[str, str], entry: _Entry, nbytes: int) -> None:
        """Count the bytes of a client's newest reply; the oldest large ones go if they are too many."""
        if nbytes < _LARGE and key not in self._large:
            return
        with self._lock:
            self._uncount(key)
            if nbytes < _LARGE or self._entries.get(key) is not entry:
                return
            self._large[key] = (entry, nbytes)
            self._kept_bytes += nbytes
            for other in list(self._large)[:-1]:
                if self._kept_bytes <= self._max_kept_bytes:
                    return
                oldest = self._large[other][0]
                # One that is in use is about to be given away, or replaced and counted anew.
                if oldest.lock.acquire(blocking=False):
                    oldest.outcome = _NOT_KEPT
                    oldest.lock.release()
                    self._uncount(other)

    def _uncount(self, key: tuple[str, str]) -> None:
        if key in self._large:
            self._kept_bytes -= self._large.pop(key)[1]

    def _forget(self, key: tuple[str, str]) -> None:
        self._uncount(key)
        self._forgotten[key] = None
        if len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)


#: What a repeat gets of an operation that failed in a way that nobody meant.
_FAILED: _Outcome = InternalError(
    "the bank failed at this write; its log says why. It may be applied in part, and is not tried again"
).to_json()


#: What a repeat gets of an operation whose reply went for want of room.
_NOT_KEPT: _Outcome = InvalidRequestError(
    "this write was applied, and not again now, but its reply is not kept any more: the bank keeps the "
    f"newest {MAX_KEPT_BYTES >> 20} MiB of replies; read what you need of the table"
).to_json()


def _nbytes(outcome: _Outcome) -> int:
    """Bytes of the arrays of a reply."""
    return sum(getattr(field, "nbytes", 0) for field in outcome) if isinstance(outcome, tuple) else 0


def _outcome(operation: Callable[[], Reply]) -> _Outcome:
    try:
        return operation()
    except CarlsError as error:
        return error.to_json()
