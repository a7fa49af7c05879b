"""What all table handles share: calls, restarts, order of reads and writes, closing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from carls.client.arguments import integer, seconds
from carls.client.link import Link
from carls.client.sequence import Build
from carls.client.writer import Writer
from carls.errors import BankRestartedError, ClosedError
from carls.messages import (
    Announce,
    DescribeTable,
    FetchStatistics,
    KnowledgeInfo,
    LatestKnowledge,
    OpenTable,
    Reply,
    Request,
    TableInfo,
)
from carls.specs import TableSpec, spec_from_json
from carls.statistics import TableStatistics

if TYPE_CHECKING:
    from carls.client.bank import Bank

S = TypeVar("S", bound=TableSpec)
R = TypeVar("R")

#: Longest wait of one request for knowledge, in seconds; longer ones are several.
_POLL_S = 1.0


class TableHandle(Generic[S]):
    """A table of a bank, as one process uses it. Made by `Bank`; thread-safe.

    Reads see this handle's earlier writes. Each verb has a twin ending in `_async` that returns
    a `concurrent.futures.Future` (await it with `asyncio.wrap_future`).

    Attributes:
        bank: the bank that the table is in.
        name: of the table.
        spec: of the table, as opened.
    """

    #: Threads of reads in the background.
    _readers = 1

    def __init__(self, bank: Bank, name: str, spec: S) -> None:
        self.bank = bank
        self.name = name
        self._writer = Writer(f"table {name!r} of {bank.url}", self._send)
        self._reader: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.spec: S = spec
        self._link = Link(
            bank,
            lambda: (self._writer,),
            self._open,
            f"its in-memory rows are gone. Table {name!r} is open again and the next call works; fill it "
            "anew if nobody else does",
            table=name,
        )

    def describe(self) -> TableInfo:
        """The table's spec, number of rows and bytes, as the bank has them now."""
        return cast("TableInfo", self._send(DescribeTable(self.name), self.bank.timeout_s))

    def statistics(self) -> TableStatistics:
        """What happened to the table, who wrote its rows, and how old they were to their readers."""
        return cast("TableStatistics", self._send(FetchStatistics(self.name), self.bank.timeout_s))

    def __len__(self) -> int:
        return self.describe().rows

    def announce(
        self, step: int, part: int | Sequence[int] = 0, parts: int = 1, timeout_s: float | None = None
    ) -> None:
        """Say that the table's rows, as far as they are made, come from checkpoints of `step` or later.

        Flushes first: where an earlier write of this handle has failed, nothing is announced. A
        `MakerRunner` announces by itself; this is for loops that write with `assign`. A step
        that is not above this handle's last one is ignored. The first announcement of another
        handle replaces this one's, whatever its step, and this one is refused from then on.

        Args:
            step: >= 0.
            part: of the table's rows, which these are, from 0, or several; makers that share a table
                announce parts of their own, and the table is as new as its oldest part.
            parts: in how many parts they share it.
            timeout_s: deadline; default the bank's.

        Raises:
            InvalidRequestError: arguments that cannot be, or another handle has taken the part over.
        """
        integer("step", step, 0), integer("parts", parts, 1)
        several = part if isinstance(part, Sequence) else [part]
        which = tuple(integer("part", one, 0, parts - 1) for one in several)
        deadline = time.monotonic() + self._timeout(timeout_s)
        self.flush(timeout_s)
        build = partial(Announce, self.name, which, int(parts), int(step), self.bank.producer)
        self._write([build], max(deadline - time.monotonic(), 0.001))

    def knowledge(
        self, at_least: int = -1, wait_s: float = 0.0, timeout_s: float | None = None
    ) -> KnowledgeInfo:
        """How new the table's rows are, by what was announced: `.step`, `.part`, `.producer`, `.age`.

        Args:
            at_least: the step to wait for; whether it came, `.step` says.
            wait_s: how long to wait for it, in seconds.
            timeout_s: deadline for each request beyond the wait; default the bank's.
        """
        least = integer("at_least", at_least, -1)
        deadline = time.monotonic() + seconds("wait_s", wait_s, zero=True)
        timeout = self._timeout(timeout_s)
        while True:
            self._check()
            wait = min(max(deadline - time.monotonic(), 0.0), _POLL_S)
            info = cast("KnowledgeInfo", self._send(LatestKnowledge(self.name, least, wait), timeout + wait))
            if info.step >= least or time.monotonic() >= deadline:
                return info

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every write so far has been applied, and repeat what has an unknown outcome.

        Raises:
            DeadlineExceededError: that was not done in time; call it again.
            CarlsError: what went wrong in the background, and was not told yet.
        """
        self._check()
        self._writer.flush(self._timeout(timeout_s))

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, then give threads back; closing twice is fine. The table stays in the bank."""
        timeout = self._timeout(timeout_s)
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.close(timeout)
        finally:
            if self._reader is not None:
                # Not awaited: what runs there has a deadline of its own.
                self._reader.shutdown(wait=False, cancel_futures=True)
            self.bank._forget(self)

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (type(self), self.bank, self.name, self.spec.to_json()))

    def __deepcopy__(self: R, memo: dict[int, Any]) -> R:
        """The handle itself: copies of a model, such as a moving average, share its tables and its writes."""
        del memo
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r} at {self.bank.url}, {self.spec})"

    # --- for the handles of each kind ---

    def _read(self, timeout_s: float | None, call: Callable[[float], R]) -> R:
        """Run `call(seconds left)` after this handle's earlier writes are done."""
        self._check()
        timeout = self._timeout(timeout_s)
        return self._after_writes(self._writer.issued, timeout, call)

    def _read_async(self, timeout_s: float | None, call: Callable[[float], R], *, lag: int = 0) -> Future[R]:
        """As `_read`, in the background; `lag` of the latest writes need not be done before."""
        self._check()
        timeout = self._timeout(timeout_s)
        with self._lock:
            if self._reader is None:
                self._reader = ThreadPoolExecutor(
                    self._readers, thread_name_prefix=f"carls reader of {self.name}"
                )
        return self._reader.submit(self._after_writes, self._writer.issued - lag, timeout, call)

    def _after_writes(self, issued: int, timeout: float, call: Callable[[float], R]) -> R:
        if self._writer.settled >= issued:
            return call(timeout)
        deadline = time.monotonic() + timeout
        self._writer.wait(issued, timeout)
        return call(max(deadline - time.monotonic(), 0.001))

    def _write(self, parts: Sequence[Build], timeout_s: float | None) -> list[Reply]:
        self._check()
        return self._writer.write(parts, self._timeout(timeout_s))

    def _write_async(self, parts: Sequence[Build], timeout_s: float | None) -> Future[list[Reply]]:
        self._check()
        return self._writer.write_async(parts, self._timeout(timeout_s))

    def _send(self, request: Request, timeout_s: float) -> Reply:
        try:
            return self._link.send(request, timeout_s)
        except BankRestartedError:
            self._forget_rows()
            raise

    def _forget_rows(self) -> None:
        """Let go of what the handle keeps of rows and is not true any more."""

    def _open(self) -> str:
        info = cast("TableInfo", self.bank._call(OpenTable(self.name, self.spec.to_json()), again=True))
        self.spec = cast("S", spec_from_json(info.spec))
        return info.bank

    def _timeout(self, timeout_s: float | None) -> float:
        return self.bank.timeout_s if timeout_s is None else seconds("timeout_s", timeout_s)

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(f"table {self.name!r} was closed: open it again", table=self.name)
        self.bank._check()
        self._writer.raise_background_error()


def _reopen(
    handle: type[TableHandle[Any]], bank: Bank, name: str, spec: dict[str, Any], *options: Any
) -> TableHandle[Any]:
    return handle(bank, name, spec_from_json(spec), *options)
