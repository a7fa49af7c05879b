"""The writer of a handle: its writes in order, in the background if wished, each applied once."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from carls.client.sequence import Build, Send, WriteSequence
from carls.errors import CarlsError, ClosedError, DeadlineExceededError, OutcomeUnknownError
from carls.messages import Reply, WriteId

#: Writes that may wait in the background before the next one has to wait itself.
QUEUE_CAPACITY = 16

#: How often the background thread looks whether the program has ended, and how long it stays
#: without work, in seconds.
_GLANCE_S, _IDLE_S = 0.2, 5.0
#: What a write may be late by when its own deadline has passed, in seconds.
_GRACE_S = 2.0

_log = logging.getLogger("carls.client")


@dataclass
class _Job:
    parts: Sequence[Build]
    timeout_s: float
    #: The deadline of whoever waits for the replies, and so gets their error; None if nobody does.
    deadline: float | None
    replies: Future[list[Reply]] = field(default_factory=Future)


class Writer:
    """Sends a handle's writes one at a time, in the order of their calls.

    A write whose outcome is unknown is kept and repeated under its sequence number before
    the next write, or by `flush`. An error of a background write is raised by its future
    and at the owner's next call, but for an unknown outcome: only its future has that, and
    what settling it brings is raised by whoever settles it. Writes that are queued when the
    program ends are still sent.

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
        self._sequence = WriteSequence(what, send)
        self.issued = 0
        self.settled = 0

    def renew(self) -> None:
        """Take a new identity, for a bank that does not know this writer."""
        self._sequence.renew()

    @property
    def client(self) -> str:
        """The present identity."""
        return self._sequence.client

    def made(self, write: WriteId) -> bool:
        """Whether a write has this writer's present identity."""
        return write.client == self._sequence.client

    def write(self, parts: Sequence[Build], timeout_s: float) -> list[Reply]:
        """Send one write in its parts and wait for their replies; each part, with its reply, and what
        comes before it, has `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        with self._turn_if_free() as free:
            if free:
                return self._sequence.apply(parts, deadline, timeout_s)
        replies = self._enqueue(parts, timeout_s, deadline)
        try:
            return replies.result(max(deadline - time.monotonic(), 0))
        except FutureTimeoutError:
            if replies.cancel():
                raise DeadlineExceededError(
                    f"{self._what}: earlier writes were not done within {timeout_s:g} s; "
                    "this one was not sent"
                ) from None
        # It is on its way: the first part until the same deadline, each other with one of its own.
        try:
            return replies.result((len(parts) - 1) * timeout_s + _GRACE_S)
        except FutureTimeoutError:
            raise OutcomeUnknownError(f"{self._what}: no reply within {timeout_s:g} s") from None

    def write_async(self, parts: Sequence[Build], timeout_s: float) -> Future[list[Reply]]:
        """Queue one write, each part to be sent with a deadline of `timeout_s` seconds; waits as long
        for room in the queue. The future can be cancelled until the first part is sent."""
        return self._enqueue(parts, timeout_s, None)

    def wait(self, settled: int, timeout_s: float) -> None:
        """Wait until so many writes are settled."""
        if self.settled >= settled:
            return
        with self._changed:
            if not self._changed.wait_for(lambda: self.settled >= settled, timeout_s):
                raise DeadlineExceededError(
                    f"{self._what}: {settled - self.settled} earlier writes were not done "
                    f"within {timeout_s:g} s"
                )

    def report(self, error: Exception) -> None:
        """Have an error of background work, whose future may be dropped, raised at the next call."""
        with self._changed:
            self._background_error = self._background_error or error

    def raise_background_error(self) -> None:
        """Raise, once, the first error of background work that nobody has seen yet."""
        if self._background_error is None:
            return
        with self._changed:
            error, self._background_error = self._background_error, None
        if isinstance(error, CarlsError):
            raise type(error)(
                f"{self._what}: earlier work in the background failed; this call sent nothing of its own: "
                f"{error.message}",
                bank=error.bank,
                table=error.table,
                details=error.details,
            ) from error
        if error is not None:
            raise error

    def flush(self, timeout_s: float) -> None:
        """Wait until every write is done; repeat what has an unknown outcome."""
        deadline = time.monotonic() + timeout_s
        self.wait(self.issued, timeout_s)
        if self._sequence.unsettled:
            with self._turn(deadline):
                self._sequence.settle(deadline)
        self.raise_background_error()

    def close(self, timeout_s: float) -> None:
        """Flush, then stop the background thread, within `timeout_s` seconds; closing twice is fine."""
        deadline = time.monotonic() + timeout_s
        try:
            if not self._closed:
                self.flush(timeout_s)
        finally:
            with self._changed:
                self._closed = True
                thread, waiting = self._thread, list(self._queue)
                self._queue.clear()
                self.settled += len(waiting)
                self._changed.notify_all()
            for job in waiting:
                if job.replies.set_running_or_notify_cancel():
                    job.replies.set_exception(
                        ClosedError(f"{self._what} was closed before this write was sent")
                    )
            if thread is not None:
                thread.join(max(deadline - time.monotonic(), 0.1))

    # --- turns: only one thread sends at a time ---

    @contextlib.contextmanager
    def _turn_if_free(self) -> Iterator[bool]:
        """The turn to send, if nobody has it and nothing is queued."""
        taken = False
        try:
            with self._changed:
                self._check_open()
                if not self._queue and not self._sending:
                    self._sending = taken = True
                    self.issued += 1
            yield taken
        finally:
            if taken:
                self._done(1)

    @contextlib.contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """The turn to send, as soon as it is free."""
        taken = False
        try:
            with self._changed:
                left = max(deadline - time.monotonic(), 0)
                if not self._changed.wait_for(lambda: not self._sending, left):
                    raise DeadlineExceededError(f"{self._what}: a write was not done before the deadline")
                self._sending = taken = True
            yield
        finally:
            if taken:
                self._done(0)

    def _done(self, writes: int) -> None:
        with self._changed:
            self._sending = False
            self.settled += writes
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._what} was closed")

    # --- the background ---

    def _enqueue(
        self, parts: Sequence[Build], timeout_s: float, deadline: float | None
    ) -> Future[list[Reply]]:
        job = _Job(parts, timeout_s, deadline)
        with self._changed:
            self._check_open()
            if not self._changed.wait_for(
                lambda: len(self._queue) < QUEUE_CAPACITY or self._closed, timeout_s
            ):
                raise DeadlineExceededError(
                    f"{self._what}: {QUEUE_CAPACITY} writes are queued and none was done within "
                    f"{timeout_s:g} s; this one was not sent. Is the bank overloaded?"
                )
            self._check_open()
            if self._thread is None:
                # Not a daemon, so that what is queued at the end of the program is still sent.
                thread = threading.Thread(target=self._work, name=f"carls writer: {self._what}", daemon=False)
                thread.start()
                self._thread = thread
            self.issued += 1
            self._queue.append(job)
            self._changed.notify_all()
        return job.replies

    def _work(self) -> None:
        while True:
            job = self._next_job()
            if job is None:
                return
            try:
                if job.replies.set_running_or_notify_cancel():
                    deadline = job.deadline or time.monotonic() + job.timeout_s
                    job.replies.set_result(self._sequence.apply(job.parts, deadline, job.timeout_s))
            except Exception as error:
                if job.deadline is None:
                    self._tell(error)
                job.replies.set_exception(error)
            finally:
                self._done(1)

    def _tell(self, error: Exception) -> None:
        """Have the error of a background write raised, unless it is repeated anyway."""
        if not threading.main_thread().is_alive():
            _log.warning("a write was lost when the program ended: %s", error)
        if not isinstance(error, OutcomeUnknownError):
            self.report(error)

    def _next_job(self) -> _Job | None:
        """The next job, with the turn to send it; None when the thread is to end."""
        idle_since = time.monotonic()
        with self._changed:
            while not (self._queue and not self._sending):
                idle = not self._queue and time.monotonic() - idle_since > _IDLE_S
                ended = not self._queue and not threading.main_thread().is_alive()
                if self._closed or idle or ended:
                    self._thread = None
                    return None
                self._changed.wait(_GLANCE_S)
            job = self._queue.popleft()
            self._sending = True
            self._changed.notify_all()
            return job
