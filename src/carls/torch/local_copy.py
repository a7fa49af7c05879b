"""LocalCopy: rows of several tables kept beside the trainer, renewed as makers announce newer ones."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.client import EmbeddingTable, Rows
from carls.client.process import check_process
from carls.errors import BankRestartedError, DeadlineExceededError, UnknownTableError
from carls.keys import Keys
from carls.messages import Bools, Floats

#: Longest wait of the background for an announcement; as long may its thread outlive `close`.
_POLL_S = 1.0


@dataclass(frozen=True, eq=False)
class CopiedRows:
    """The rows of one table, as they were read.

    Attributes:
        rows: of the copy's keys, in their order.
        read_at: `time.monotonic()` of the reading.
    """

    rows: Rows
    read_at: float

    def usable(self, step: int, max_age_steps: int | None, max_age_s: float | None) -> Bools:
        """(n,) bool: written by somebody, and now within the age bounds."""
        usable: Bools = self.rows.found & (self.rows.version > 0)
        if max_age_steps is not None:
            usable = usable & (self.rows.step >= step - max_age_steps)
        if max_age_s is not None:
            usable = usable & (self.rows.age + (time.monotonic() - self.read_at) <= max_age_s)
        return usable

    def directions(self) -> Floats:
        """(n, dim) float32, each row divided by its length; zeros stay zeros."""
        values = np.asarray(self.rows.values, np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
        directions: Floats = values / np.maximum(lengths, 1e-12)[:, None]
        return directions


@dataclass(frozen=True, eq=False)
class Copied:
    """One reading of all tables.

    Attributes:
        step: the tables' announced step before it was read: rows are of it or later. -1: none announced.
        sides: of each table, its rows.
    """

    step: int
    sides: tuple[CopiedRows, ...]


class LocalCopy:
    """The same keys' rows in several tables, read anew when all tables' makers announced another step.

    A step that compares with thousands of rows cannot fetch them each time. This follows the announcements
    (`table.knowledge`) in a thread of its own, reads all rows once for each, and hands the newest reading
    out without a call. The thread starts with the first `latest` and asks again only while `latest`
    is called. Deep copies of a model share it, as they share their tables; a pickled one begins anew.

    Args:
        tables: their handles.
        keys: n keys that have, or will have, a row in each.
    """

    def __init__(self, tables: Sequence[EmbeddingTable], keys: Keys) -> None:
        self.tables = tuple(tables)
        self.keys = keys
        self._copied: Copied | None = None
        self._coming: Future[Copied | None] | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        # Where it is unpickled it reads anew, in a thread of its own.
        return LocalCopy, (self.tables, self.keys)

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalCopy:
        del memo
        return self

    def latest(self, step: int) -> Copied | None:
        """The newest reading that is there, without waiting; None before the first.

        Args:
            step: the trainer's, which the bank notes with the reading.

        Raises:
            CarlsError: what went wrong in the background, once. The rows stay, but after BankRestartedError
                and UnknownTableError they are gone here too.
            ForkedError: in a process forked from the one that made this, which has no such thread.
        """
        check_process(self._process, "this local copy of tables")
        self._collect()
        if self._coming is None:
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="carls local copy")
            self._coming = self._reader.submit(self._newer, self._copied, step)
        return self._copied

    def refresh(self, step: int, at_least: int = -1, timeout_s: float | None = None) -> Copied:
        """Read now, unless what is there is of step `at_least` or later and that was asked for.

        Args:
            step: the trainer's.
            at_least: the announced step that is needed; waits for it. -1: whatever there is now.
            timeout_s: longest wait, and deadline of each request; default the bank's.

        Raises:
            DeadlineExceededError: no such announcement in time.
            CarlsError: what went wrong in the background, once, as for `latest`.
        """
        self._collect()
        if self._copied is not None and 0 <= at_least <= self._copied.step:
            return self._copied
        wait_s = self.tables[0].bank.timeout_s if timeout_s is None else timeout_s
        known = self._known(at_least, wait_s if at_least >= 0 else 0.0)
        if known < at_least:
            names = ", ".join(repr(table.name) for table in self.tables)
            raise DeadlineExceededError(
                f"tables {names}: knowledge of step {at_least} or later was asked for, and that of step "
                f"{known} is announced after {wait_s:g} s. Is a maker running, and a checkpoint published?"
            )
        self._drop()
        self._copied = self._read(known, step)
        return self._copied

    def close(self) -> None:
        """Let the thread end; what was read is let go of."""
        self._drop()
        self._copied = None
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)
            self._reader = None

    def _collect(self) -> None:
        """Take over what the background has read, or raise what went wrong there."""
        if self._coming is None or not self._coming.done():
            return
        coming, self._coming = self._coming, None
        try:
            self._copied = coming.result()
        except (BankRestartedError, UnknownTableError):
            self._copied = None
            raise

    def _drop(self) -> None:
        """Forget a reading under way, which began before what is read now."""
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _newer(self, copied: Copied | None, step: int) -> Copied | None:
        """A reading, once another step than that of `copied` is announced; else `copied`, after a while.

        None once nothing is announced any more: those rows are gone.
        """
        have = -1 if copied is None else copied.step
        known = self._known(have + 1, _POLL_S)
        if known == have:
            return copied
        # Lower, where the trainer went back to an earlier checkpoint and its maker started anew.
        return None if known < 0 else self._read(known, step)

    def _known(self, at_least: int, wait_s: float) -> int:
        """The step that all tables are announced to have; waits for `at_least`."""
        deadline = time.monotonic() + wait_s
        known = [
            table.knowledge(at_least, max(deadline - time.monotonic(), 0.0)).step for table in self.tables
        ]
        return min(known)

    def _read(self, known: int, step: int) -> Copied:
        sides = []
        for table in self.tables:
            rows = table.lookup(self.keys, create=False, at_step=step)
            sides.append(CopiedRows(rows, time.monotonic()))
        return Copied(known, tuple(sides))
