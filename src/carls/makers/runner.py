"""MakerRunner: follows a model's checkpoints and lets a maker make rows from each."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from carls.bank.announcements import MAX_PARTS
from carls.client import Bank, EmbeddingTable, FeatureTable, Model, connect
from carls.client.backoff import Backoff
from carls.errors import (
    BankRestartedError,
    ClientForgottenError,
    DeadlineExceededError,
    InvalidRequestError,
    SpecMismatchError,
    UnavailableError,
    UnknownTableError,
)
from carls.keys import Keys
from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.progress import Progress
from carls.makers.schedules import Schedule
from carls.specs import EmbeddingSpec, FeatureSpec, check_name, spec_from_json

#: What the runner survives: it waits a little and starts over from the newest checkpoint.
INTERRUPTIONS = (
    UnavailableError,
    BankRestartedError,
    UnknownTableError,
    ClientForgottenError,
    DeadlineExceededError,
)
#: Longest wait for a newer checkpoint before looking whether to stop, in seconds.
_POLL_S = 0.25


class MakerRunner:
    """Waits for a newer checkpoint, walks the keys by a schedule, writes what the maker makes.

    Rows are stamped with the checkpoint's step. A bank that goes away, comes back empty or
    does not have a table yet interrupts the runner only: it waits with growing pauses and
    starts over from the newest checkpoint. Any other exception, such as one of the maker's own
    code, stops the runner and is raised, once, at its owner's next call.

    When all keys have been made from a checkpoint's step or later, which with a partial schedule is
    the step of the oldest, the runner announces that step for the tables it wrote to: trainers
    with a `carls.DriftLimit` wait for it.

    Run it in this thread with `run()`, or in one of its own with `start()` and `stop()` or as a
    context manager. `MakerProcess` runs it in a process of its own.

    Args:
        bank: a `Bank`, which stays its owner's, or the URL of one, for a connection of its own.
        maker: makes the rows.
        model: name of the model whose checkpoints it follows.
        keys: what it walks, as for `carls.Keys.of`.
        schedule: a `Schedule` or its name: "all", "stalest".
        batch_size: keys given to the maker at a time.
        part: which part of its tables' rows this maker makes, from 0. Makers that share a table
            each get a part of their own; one that replaces another gets the same part.
        parts: in how many parts they share it.

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
        part: int = 0,
        parts: int = 1,
    ) -> None:
        if batch_size < 1:
            raise InvalidRequestError(f"batch_size={batch_size!r}: expected an integer >= 1")
        if not 0 <= part < parts <= MAX_PARTS:
            raise InvalidRequestError(
                f"part={part!r}, parts={parts!r}: expected 0 <= part < parts <= {MAX_PARTS}"
            )
        if bank == "memory://":
            raise InvalidRequestError("bank 'memory://' is private to each connection: give the Bank itself")
        self._source = bank
        self._maker = maker
        self._model = check_name("model", model)
        self._keys = Keys.of(keys)
        self._schedule = Schedule.of(schedule)
        self._batch_size = batch_size
        self._part, self._parts = part, parts
        self._progress = Progress()
        self._made = np.full(len(self._keys), -1, np.int64)
        self._announced: dict[str, int] = {}
        self._tables: dict[str, EmbeddingTable | FeatureTable] = {}
        self._stopping = threading.Event()
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def progress(self) -> Progress:
        """What was done so far; raises the exception that stopped the runner, if any, once."""
        self._raise()
        return self._progress

    def run(self, deadline_s: float | None = None) -> Progress:
        """Work in this thread until `request_stop()` or for `deadline_s` seconds."""
        self._deadline = None if deadline_s is None else time.monotonic() + deadline_s
        bank = self._connect()
        backoff = Backoff()
        try:
            while bank is not None and not self._over():
                passes = self._progress.passes
                try:
                    self._follow(bank)
                except INTERRUPTIONS as error:
                    if self._progress.passes > passes:
                        backoff = Backoff()
                    self._interrupted(error, backoff)
        finally:
            if bank is not None and bank is not self._source:
                # What a bank that is away did not get, the next maker makes again.
                with contextlib.suppress(*INTERRUPTIONS):
                    bank.close()
        return self._progress

    def start(self) -> MakerRunner:
        """Work in a thread of its own until `stop()`."""
        if self._thread is not None:
            raise InvalidRequestError("this runner was started before: make another one")
        name = f"carls maker of {self._model}"
        self._thread = threading.Thread(target=self._guarded_run, name=name, daemon=True)
        self._thread.start()
        return self

    def request_stop(self) -> None:
        """Ask the runner to stop after the batch at hand; does not wait."""
        self._stopping.set()

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
                    f"the maker of model {self._model!r} did not stop within {timeout_s} s"
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

    def _over(self) -> bool:
        return self._stopping.is_set() or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _connect(self) -> Bank | None:
        """The bank; None if the runner has to stop before it can be reached."""
        if not isinstance(self._source, str):
            return self._source
        backoff = Backoff()
        while not self._over():
            try:
                return connect(self._source)
            except INTERRUPTIONS as error:
                self._interrupted(error, backoff)
        return None

    def _interrupted(self, error: Exception, backoff: Backoff) -> None:
        self._made[:] = -1
        self._announced.clear()
        self._progress = replace(
            self._progress, interruptions=self._progress.interruptions + 1, last_error=str(error)
        )
        self._stopping.wait(backoff.pause_s())

    def _follow(self, bank: Bank) -> None:
        """Walk the keys for each newer checkpoint; the first one is the newest there is."""
        newest: int | None = None
        while not self._over():
            model = bank.models.latest(self._model, newer_than=newest, wait_s=_POLL_S)
            if model is not None:
                self._walk(bank, model)
                newest = model.step

    def _walk(self, bank: Bank, model: Model) -> None:
        """Make the keys that the schedule chooses; leaves early if told to stop."""
        began, written = time.monotonic(), 0
        order = self._schedule.walk(self._made)
        self._progress = replace(self._progress, checkpoint_step=model.step)
        for start in range(0, len(order), self._batch_size):
            if self._over():
                return
            chosen = order[start : start + self._batch_size]
            for write in self._maker.make(model, self._keys.take(chosen)):
                written += self._write(bank, write, model.step)
            self._made[chosen] = model.step
        self._announce()
        self._progress = replace(
            self._progress,
            passes=self._progress.passes + 1,
            rows_per_s=written / max(time.monotonic() - began, 1e-9),
        )

    def _announce(self) -> None:
        """Announce the step of the oldest key, to each table that does not know it yet."""
        oldest = int(self._made.min())
        for name, table in self._tables.items():
            if oldest > self._announced.get(name, -1):
                table.announce(oldest, self._part, self._parts)
                self._announced[name] = oldest

    def _write(self, bank: Bank, write: Write, step: int) -> int:
        keys = Keys.of(write.keys)
        if write.table not in self._tables:
            self._tables[write.table] = _open(bank, write.table)
        table = self._tables[write.table]
        if isinstance(table, EmbeddingTable) == isinstance(write.values, Mapping):
            raise InvalidRequestError(
                f"write to table {write.table!r}, a {table.spec.kind} table, with values of type "
                f"{type(write.values).__name__}: expected an array for embedding tables and a mapping of "
                "columns for feature tables"
            )
        table.assign(keys, write.values, step=step)
        self._progress = replace(self._progress, rows_written=self._progress.rows_written + len(keys))
        return len(keys)


def _open(bank: Bank, name: str) -> EmbeddingTable | FeatureTable:
    """A handle of an existing table, with the spec that it has."""
    spec = spec_from_json(bank.describe(name).spec)
    if isinstance(spec, EmbeddingSpec):
        return bank.embeddings(
            name,
            dim=spec.dim,
            dtype=spec.dtype,
            seed=spec.seed,
            keys=spec.keys,
            optimizer=spec.optimizer,
            initializer=spec.initializer,
        )
    if not isinstance(spec, FeatureSpec):
        raise SpecMismatchError(
            f"table {name!r} is a table of kind {spec.kind!r}: makers write to embedding and feature tables",
            table=name,
        )
    return bank.features(name, dict(spec.columns), keys=spec.keys)
