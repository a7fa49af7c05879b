"""MakerRunner: follows a model's checkpoints and lets a maker make rows from each."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any

from carls.client import Bank, connect
from carls.client.backoff import INTERRUPTIONS, Backoff
from carls.errors import DeadlineExceededError, InvalidRequestError
from carls.makers.following import Following, Work
from carls.makers.intervals import Interval
from carls.makers.maker import KnowledgeMaker
from carls.makers.outputs import Outputs
from carls.makers.progress import Journal, Progress
from carls.makers.schedules import Schedule
from carls.makers.stopping import Stopping


class MakerRunner:
    """Waits for a newer checkpoint, walks the keys by a schedule, writes what the maker makes.

    Rows are stamped with the checkpoint's step. A bank that goes away, comes back empty or
    does not have a table yet interrupts the runner only: it waits with growing pauses and
    starts over from the newest checkpoint. Any other exception, such as one of the maker's own
    code, stops the runner and is raised, once, at its owner's next call.

    When all keys have been made from a checkpoint's step or later, which with a partial schedule is
    the step of the oldest, the runner announces that step for the tables it wrote to: trainers
    with a `carls.DriftLimit` wait for it.

    Runners with the same `share` make the keys together: each leases shares of them from the bank, as
    even as can be, and announces those. They have to have the same model and keys. One that joins gets
    its part within a tenth of `lease_s` and a batch; what one held that is gone, the others make `lease_s`
    seconds later, or at once where it was stopped. One that was silent for longer, as it was paused or
    cut off, starts over, and what it wrote meanwhile is refused.

    Run it in this thread with `run()`, or in one of its own with `start()` and `stop()` or as a
    context manager. `MakerProcess` runs it in a process of its own.

    Args:
        bank: a `Bank`, which stays its owner's, or the URL of one, for a connection of its own.
        maker: makes the rows.
        model: name of the model whose checkpoints it follows.
        keys: what it walks, as for `carls.Keys.of`.
        schedule: which keys come first, a `Schedule` or its name: "all", "stalest", "requested".
        batch_size: keys given to the maker at a time; fewer where `rows_per_s` is less.
        rows_per_s: rows that it writes in a second, on average; None: as many as it can.
        interval: steps between the checkpoints that it works from, an `Interval` or its name: "none",
            "stretching".
        share: name of the group of makers with which it shares the keys; None: it makes all of them, alone.
        lease_s: seconds after which a maker that was not heard of loses its shares, 0.1 to 3600.

    Raises:
        InvalidRequestError: an argument that cannot be.
    """

    def __init__(
        self,
        bank: Bank | str,
        maker: KnowledgeMaker,
        *,
        model: str,
        keys: Any,
        schedule: Schedule | str = "all",
        batch_size: int = 1024,
        rows_per_s: float | None = None,
        interval: Interval | str = "none",
        share: str | None = None,
        lease_s: float = 10.0,
    ) -> None:
        if bank == "memory://":
            raise InvalidRequestError("bank 'memory://' is private to each connection: give the Bank itself")
        self._source = bank
        self._work = Work(maker, model, keys, schedule, batch_size, rows_per_s, interval, share, lease_s)
        self._journal = Journal()
        self._stopping = Stopping()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def progress(self) -> Progress:
        """What was done so far; raises the exception that stopped the runner, if any, once."""
        self._raise()
        return self._journal.progress

    def run(self, deadline_s: float | None = None) -> Progress:
        """Work in this thread until `request_stop()` or for `deadline_s` seconds."""
        self._stopping.after(deadline_s)
        bank = self._connect()
        if bank is None:
            return self._journal.progress
        outputs, backoff = Outputs(bank), Backoff()
        try:
            while not self._stopping.now:
                passes = self._journal.progress.passes
                try:
                    Following(bank, outputs, self._work, self._journal, self._stopping).run()
                except INTERRUPTIONS as error:
                    if self._journal.progress.passes > passes:
                        backoff = Backoff()
                    self._interrupted(error, backoff)
        finally:
            if bank is not self._source:
                # What a bank that is away did not get, the next maker makes again.
                with contextlib.suppress(*INTERRUPTIONS):
                    bank.close()
        return self._journal.progress

    def start(self) -> MakerRunner:
        """Work in a thread of its own until `stop()`."""
        if self._thread is not None:
            raise InvalidRequestError("this runner was started before: make another one")
        name = f"carls maker of {self._work.model}"
        self._thread = threading.Thread(target=self._guarded_run, name=name, daemon=True)
        self._thread.start()
        return self

    def request_stop(self) -> None:
        """Ask the runner to stop after the batch at hand; does not wait."""
        self._stopping.ask()

    def stop(self, timeout_s: float = 30.0) -> Progress:
        """Stop and wait for the end; raises the exception that stopped the runner, if any, once.

        Raises:
            DeadlineExceededError: the batch at hand took longer than `timeout_s` seconds.
        """
        self.request_stop()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise DeadlineExceededError(
                    f"the maker of model {self._work.model!r} did not stop within {timeout_s} s"
                )
        return self.progress

    def __enter__(self) -> MakerRunner:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _guarded_run(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._error = error

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _connect(self) -> Bank | None:
        """The bank; None if the runner has to stop before it can be reached."""
        if not isinstance(self._source, str):
            return self._source
        backoff = Backoff()
        while not self._stopping.now:
            try:
                return connect(self._source)
            except INTERRUPTIONS as error:
                self._interrupted(error, backoff)
        return None

    def _interrupted(self, error: Exception, backoff: Backoff) -> None:
        self._journal.note(interruptions=self._journal.progress.interruptions + 1, last_error=str(error))
        self._stopping.wait(backoff.pause_s())
