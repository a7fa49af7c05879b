"""Indexes of embedding tables, and the thread that builds and refreshes them."""

from __future__ import annotations

import logging
import threading
import time

from carls import _core
from carls.bank.clock import TICKS_PER_S, Clock
from carls.bank.embeddings import EmbeddingTable
from carls.specs import IVF
from carls.statistics import IndexStatistics

_log = logging.getLogger("carls.bank")

#: Rows that a table has at least when its index is built: fewer are looked at as fast.
LEAST_ROWS = 10_000
#: An index is built anew when its table has so many times the rows, or so many were written, as when it was.
_GROWN, _REWRITTEN = 2, 4
#: Share of the rows that may have changed where a search still uses the index.
_WORTH_CHANGED = 0.25
#: Seconds between refreshes; as many as one has computed, where these are more: half a core at most.
_PAUSE_S = 0.05


class TableIndex:
    """The index of one table.

    Args:
        table: that has it.
        policy: what it is like.

    Attributes:
        stopped: whether it was ended, as with its table.
    """

    def __init__(self, table: EmbeddingTable, policy: IVF) -> None:
        self.policy = policy
        self._table = table
        self._core: _core.InvertedFile | None = None
        self._built = self._rewritten = self._builds = 0
        self._refreshed_at = 0
        self._failure = ""
        self.stopped = False
        self._lock = threading.Lock()

    def for_search(self, metric: str) -> _core.InvertedFile | None:
        """The core's index, if it is built and of that metric, and worth it: where many rows have changed
        it is faster to look at all, one after the other."""
        core = self._core
        if core is None or not self._builds or metric != self.policy.metric:
            return None
        return core if core.changed < _WORTH_CHANGED * len(self._table) else None

    def tend(self, clock: Clock) -> None:
        """Build or refresh it, as is due. Called by one thread."""
        core = self._open()
        rows = len(self._table)
        if core is None or (rows < LEAST_ROWS and not self._builds):
            return
        due = not self._builds or rows > _GROWN * self._built or self._rewritten > _REWRITTEN * self._built
        try:
            if due and rows:
                if not core.build(clock.ticks()):
                    return
                self._built, self._rewritten, self._builds = rows, 0, self._builds + 1
            elif core.changed:
                self._rewritten += core.refresh(clock.ticks())
            self._refreshed_at, self._failure = clock.ticks(), ""
        except Exception as error:
            # Searches go on: they look at every row that is in no list.
            self._failure = f"{type(error).__name__}: {error}"
            _log.exception("the index of table %r could not be refreshed", self._table.name)

    def stop(self) -> None:
        """End it; what is under way returns soon. Stopping twice is fine."""
        with self._lock:
            self.stopped = True
            if self._core is not None:
                self._core.stop()

    def statistics(self, now: int) -> IndexStatistics:
        """What it has done; `now` is the bank's clock."""
        core = self._core
        return IndexStatistics(
            policy=self.policy.to_json(),
            rows=core.indexed if core and self._builds else 0,
            changed=core.changed if core and self._builds else len(self._table),
            lists=core.lists if core else 0,
            builds=self._builds,
            age=max(now - self._refreshed_at, 0) / TICKS_PER_S if self._builds else None,
            failure=self._failure,
        )

    def _open(self) -> _core.InvertedFile | None:
        with self._lock:
            if self._core is None and self._table.core is not None and not self.stopped:
                lists = self.policy.lists or 0
                self._core = _core.InvertedFile(
                    self._table.core, self.policy.metric, lists, self.policy.probes
                )
            return None if self.stopped else self._core


class Indexer:
    """Builds and refreshes all indexes of a bank, in one thread, which runs once there is an index.

    Args:
        clock: of the bank.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._indexes: list[TableIndex] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def set(self, table: EmbeddingTable, policy: IVF | None) -> None:
        """Give `table` an index in place of the one that it has; the same one again changes nothing."""
        with self._changed:
            if table.index is not None:
                if table.index.policy == policy:
                    return
                old, table.index = table.index, None
                self._indexes = [index for index in self._indexes if index is not old]
                # After searches cannot take it any more: writes are not noted for it from here on.
                old.stop()
            if policy is None or self._closed:
                return
            table.index = TableIndex(table, policy)
            # It may have gone since it was found. Looked at after it has the index: who closes it looks the
            # other way round.
            if table.closed:
                table.index.stop()
                return
            self._indexes.append(table.index)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="carls indexer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        """End all indexes and the thread; closing twice is fine."""
        with self._changed:
            self._closed = True
            for index in self._indexes:
                index.stop()
            self._indexes.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if not self._closed:
                    self._changed.wait(pause)
                if self._closed:
                    return
                self._indexes = [index for index in self._indexes if not index.stopped]
                indexes = list(self._indexes)
            begun = time.thread_time()
            for index in indexes:
                index.tend(self._clock)
            pause = max(_PAUSE_S, time.thread_time() - begun)
