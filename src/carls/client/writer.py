"""The writer of a handle: its writes in order, in the background if wished, each applied once."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from carls.errors import ClosedError, DeadlineExceededError, OutcomeUnknownError, UnavailableError
from carls.messages import Reply, Request, WriteId

#: Builds the request of a write that has got its identity.
Build = Callable[[WriteId], Request]
Send = Callable[[Request, float], Reply]

#: Writes that may wait in the background before the next one has to wait itself.
QUEUE_CAPACITY = 16


@dataclass
class _Identity:
    """Who the bank takes the writer for, and how far it has come."""

    client: str = field(default_factory=lambda: os.urandom(16).hex())
    sequence: int = 0
    acknowledged: bool = False
    #: The write whose outcome is unknown.
    unsettled: Request | None = None


@dataclass
class _Job:
    build: Build
    timeout_s: float
    reply: Future[Reply] = field(default_factory=Future)


class Writer:
    """Sends a handle's writes one at a time, in the order of their calls.

    A write whose outcome is unknown is kept and repeated under its sequence number before
    the next write, or by `flush`. An error of a background write is raised by its future
    and at the owner's next call.

    Args:
        what: the handle, for messages of errors.
        send: sends a request and waits for its reply up to so many seconds.
    """

    def __init__(self, what: str, send: Send) -> None:
        self._what = what
        self._send = send
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._sending = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._background_error: Exception | None = None
        self.issued = 0
        self.settled = 0
        self.renew()

    def renew(self) -> None:
        """Take a new identity, for a bank that does not know this writer."""
        self._identity = _Identity()

    def write(self, build: Build, timeout_s: float) -> Reply:
        """Send one write and wait for its reply."""
        with self._changed:
            self._check_open()
            direct = not self._queue and not self._sending
            if direct:
                self._sending = True
                self.issued += 1
        if not direct:
            return self.write_async(build, timeout_s).result()
        try:
            return self._apply(build, timeout_s)
        finally:
            self._done()

    def write_async(self, build: Build, timeout_s: float) -> Future[Reply]:
        """Queue one write; waits up to `timeout_s` seconds for room in the queue."""
        job = _Job(build, timeout_s)
        with self._changed:
            self._check_open()
            if not self._changed.wait_for(
                lambda: len(self._queue) < QUEUE_CAPACITY or self._closed, timeout_s
            ):
                raise DeadlineExceededError(
                    f"{self._what}: {QUEUE_CAPACITY} writes are queued and none was done within "
                    f"{timeout_s} s; this one was not sent. Is the bank overloaded?"
                )
            self._check_open()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"carls writer: {self._what}", daemon=True
                )
                self._thread.start()
            self.issued += 1
            self._queue.append(job)
            self._changed.notify_all()
        return job.reply

    def wait(self, settled: int, timeout_s: float) -> None:
        """Wait until so many writes are settled."""
        if self.settled >= settled:
            return
        with self._changed:
            if not self._changed.wait_for(lambda: self.settled >= settled, timeout_s):
                raise DeadlineExceededError(
                    f"{self._what}: {settled - self.settled} earlier writes were not done "
                    f"within {timeout_s} s"
                )

    def raise_background_error(self) -> None:
        """Raise, once, the error of a background write that nobody has seen yet."""
        if self._background_error is not None:
            with self._changed:
                error, self._background_error = self._background_error, None
            if error is not None:
                raise error

    def flush(self, timeout_s: float) -> None:
        """Wait until every write is done; repeat the one whose outcome is unknown, if any."""
        deadline = time.monotonic() + timeout_s
        self.wait(self.issued, timeout_s)
        if self._identity.unsettled is not None:
            with self._changed:
                if not self._changed.wait_for(lambda: not self._sending, max(deadline - time.monotonic(), 0)):
                    raise DeadlineExceededError(f"{self._what}: a write was not done within {timeout_s} s")
                self._sending = True
            try:
                self._settle(self._identity, max(deadline - time.monotonic(), 0.001))
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()
        self.raise_background_error()

    def close(self, timeout_s: float) -> None:
        """Flush, then stop the background thread; closing twice is fine."""
        try:
            if not self._closed:
                self.flush(timeout_s)
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            if self._thread is not None:
                self._thread.join(timeout_s)
            for job in self._queue:
                job.reply.set_exception(ClosedError(f"{self._what} was closed before this write was sent"))
            self._queue.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._what} was closed")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: (self._queue and not self._sending) or self._closed)
                if self._closed:
                    return
                job = self._queue.popleft()
                self._sending = True
                self._changed.notify_all()
            try:
                reply = self._apply(job.build, job.timeout_s)
            except Exception as error:
                self._background_error = error
                job.reply.set_exception(error)
            else:
                job.reply.set_result(reply)
            finally:
                self._done()

    def _done(self) -> None:
        with self._changed:
            self._sending = False
            self.settled += 1
            self._changed.notify_all()

    def _apply(self, build: Build, timeout_s: float) -> Reply:
        """Send one write. Only one thread is here at a time: the one that set `_sending`."""
        deadline = time.monotonic() + timeout_s
        identity = self._identity
        if identity.unsettled is not None:
            self._settle(identity, timeout_s)
        identity.sequence += 1
        request = build(WriteId(identity.client, identity.sequence, not identity.acknowledged))
        try:
            reply = self._send(request, max(deadline - time.monotonic(), 0.001))
        except OutcomeUnknownError:
            identity.unsettled = request
            raise
        identity.acknowledged = True
        return reply

    def _settle(self, identity: _Identity, timeout_s: float) -> None:
        """Repeat the write whose outcome is unknown, under its own sequence number."""
        request = identity.unsettled
        if request is None:
            return
        try:
            self._send(request, timeout_s)
        except (DeadlineExceededError, UnavailableError) as error:
            raise DeadlineExceededError(
                f"{self._what}: the outcome of an earlier write is still unknown after {timeout_s:.3g} s "
                f"more; this call sent nothing of its own: {error}",
                bank=error.bank,
                table=error.table,
            ) from error
        except Exception:
            # The bank has answered: the write was not applied, and never will be.
            identity.unsettled = None
            raise
        identity.unsettled = None
        identity.acknowledged = True
