"""The sequence of one writer's writes: their numbers, and those whose outcome is unknown."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from carls.errors import (
    BankRestartedError,
    CarlsError,
    ClientForgottenError,
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    OutcomeUnknownError,
    TableError,
)
from carls.messages import Reply, Request, WriteId

#: Builds the request of a write, or of one part of a large one, that has got its identity.
Build: TypeAlias = Callable[[WriteId], Request]
Send: TypeAlias = Callable[[Request, float], Reply]

#: Answers that settle a write: repeating it would give the same answer again.
_REFUSALS = (InvalidRequestError, TableError, BankRestartedError, ClientForgottenError, InternalError)


@dataclass
class _Identity:
    """Who the bank takes the writer for, and how far it has come."""

    client: str = field(default_factory=lambda: os.urandom(16).hex())
    sequence: int = 0
    acknowledged: bool = False
    #: In order: a write whose outcome is unknown, and the parts of the same call after it, which
    #: were not sent yet.
    unsettled: deque[Request] = field(default_factory=deque)


class WriteSequence:
    """Sends writes under their numbers, each until its outcome is known.

    A write whose outcome is unknown is kept and repeated under its number before anything else.
    So are the later parts of the same call: its outcome is unknown until all of it is written.
    Not for several threads at once, but for `renew`.

    Args:
        what: the handle, for messages of errors.
        send: sends a request and waits for its reply up to so many seconds.
    """

    def __init__(self, what: str, send: Send) -> None:
        self._what = what
        self._send = send
        self._identity = _Identity()

    @property
    def client(self) -> str:
        """The present identity."""
        return self._identity.client

    @property
    def unsettled(self) -> bool:
        """Whether the outcome of a write is unknown."""
        return bool(self._identity.unsettled)

    def renew(self) -> None:
        """Take a new identity, for a bank that does not know this one; forgets what is unsettled."""
        self._identity = _Identity()

    def apply(self, parts: Sequence[Build], deadline: float, timeout_s: float) -> list[Reply]:
        """Send one write in its parts; the reply to each.

        Args:
            parts: one nearly always, more for very large writes.
            deadline: of what is unsettled and the first part, as `time.monotonic()`.
            timeout_s: for each further part, in seconds.

        Raises:
            OutcomeUnknownError: some of it may or may not have been applied; all of it is kept.
            DeadlineExceededError: what is unsettled could not be settled; nothing was sent.
            CarlsError: what the bank answered; that part was not applied, nor any after it.
        """
        identity = self._identity
        self._settle(identity, deadline)
        replies: list[Reply] = []
        for at, build in enumerate(parts):
            if at:
                deadline = time.monotonic() + timeout_s
            request = self._numbered(identity, build)
            try:
                replies.append(self._send(request, _left(deadline)))
            except OutcomeUnknownError:
                self._keep(identity, request, parts[at + 1 :])
                raise
            except CarlsError as error:
                if not replies or isinstance(error, _REFUSALS):
                    raise
                # Parts before this one are applied: whoever repeated the call would apply them twice.
                self._keep(identity, request, parts[at + 1 :])
                raise OutcomeUnknownError(
                    f"{self._what}: {at} of {len(parts)} parts of a large write were applied; flush() sends "
                    f"the rest, which is safe ({error})",
                    bank=error.bank,
                    table=error.table,
                ) from error
            except Exception:
                raise  # a fault of this side, before anything was sent: repeating it would fail again
            except BaseException:
                # Such as KeyboardInterrupt: nobody has seen a reply.
                self._keep(identity, request, parts[at + 1 :])
                raise
            identity.acknowledged = True
        return replies

    def settle(self, deadline: float) -> None:
        """Repeat what is unsettled, under its own numbers.

        Raises:
            DeadlineExceededError: its outcome is still unknown.
            CarlsError: the bank refuses it: it was not applied and never will be.
        """
        self._settle(self._identity, deadline)

    def _settle(self, identity: _Identity, deadline: float) -> None:
        began = time.monotonic()
        while identity.unsettled:
            try:
                self._send(identity.unsettled[0], _left(deadline))
            except _REFUSALS as error:
                identity.unsettled.clear()
                raise self._refused(error) from error
            except Exception as error:
                raise DeadlineExceededError(
                    f"{self._what}: the outcome of an earlier write is still unknown after "
                    f"{time.monotonic() - began:.3g} s more; this call sent nothing of its own: {error}"
                ) from error
            identity.unsettled.popleft()
            identity.acknowledged = True

    def _refused(self, error: CarlsError) -> CarlsError:
        """The bank's answer to an earlier write, for the call that came to know it."""
        if isinstance(error, ClientForgottenError):
            found = (
                "the outcome of an earlier write stays unknown, since the bank has forgotten this client; "
                "look at the rows before you repeat that write. This call sent nothing of its own"
            )
        else:
            found = "an earlier write, whose outcome was unknown, failed; this call sent nothing of its own"
        return type(error)(
            f"{self._what}: {found}: {error.message}",
            bank=error.bank,
            table=error.table,
            details=error.details,
        )

    def _numbered(self, identity: _Identity, build: Build) -> Request:
        identity.sequence += 1
        return build(WriteId(identity.client, identity.sequence, not identity.acknowledged))

    def _keep(self, identity: _Identity, request: Request, rest: Iterable[Build]) -> None:
        identity.unsettled.append(_copied(request))
        identity.unsettled.extend(_copied(self._numbered(identity, build)) for build in rest)


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _copied(request: Any) -> Any:
    """The request over memory of its own: its caller may use the arrays again."""
    return type(request)(*map(_copy, request))


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, pa.RecordBatch):
        return value.copy_to(pa.default_cpu_memory_manager())
    return value
