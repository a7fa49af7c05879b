"""What `TaskNode` and `TaskNodes` share: a connection, a table, threads, and their end."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

from carls.client import Bank, TaskTable, connect
from carls.client.arguments import integer, seconds
from carls.client.backoff import Backoff
from carls.errors import DeadlineExceededError, InvalidRequestError, SpecMismatchError
from carls.messages import Gap
from carls.mtl.agenda import Agenda
from carls.mtl.participant import TASK_INTERRUPTIONS, Participant
from carls.specs import check_name

#: Rounds of all participants between two looks at the gap, which cost the bank about as much as a round.
LOOK = 5
#: But where updates are slow, or wait for those of others, it is looked at after so many seconds.
LOOK_S = 0.5
#: Longest wait of a pull for the others, in seconds.
WAIT_S = 0.5
#: Threads look after one another's end within so many seconds.
_JOIN_S = 30.0

R = TypeVar("R", bound="NodeRunner")


class NodeRunner:
    """Lets participants step, each when it is due, in this thread and a few more.

    Args:
        bank: a `Bank`, the URL of one, or None where `table` is a handle.
        table: the name of a table of tasks, or a handle.
        participants: the tasks.
        threads: at work at once.

    Raises:
        InvalidRequestError: a bank that cannot be.
        InvalidSpecError: names that cannot be.
    """

    def __init__(
        self,
        bank: Bank | str | None,
        table: TaskTable | str,
        participants: Sequence[Participant],
        threads: int,
    ) -> None:
        if bank == "memory://":
            raise InvalidRequestError("bank 'memory://' is private to each connection: give the Bank itself")
        if isinstance(table, str):
            check_name("table", table)
            if bank is None:
                raise InvalidRequestError(
                    f"bank=None with table={table!r}: expected the bank that has it, or a handle of the table"
                )
        elif not isinstance(table, TaskTable):
            raise InvalidRequestError(
                f"table={table!r:.80}: expected the name of a table of tasks, or a handle of one"
            )
        for one in participants:
            check_name("task", one.name)
        self._bank, self._table = bank, table
        self._participants = participants
        self._threads = min(threads, len(participants))
        # A thread that waits for the others must not be the one that another one needs.
        self._wait_s = WAIT_S if self._threads == len(participants) else 0.0
        self._agenda = Agenda(participants)
        self._stopping = False
        self._until_gap, self._min_tasks = 0.0, 1
        #: Updates, and seconds on the monotonic clock, at the last look at the gap.
        self._looked = 0, -math.inf
        self._gap: Gap | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def gap(self) -> Gap | None:
        """The smallest gap that the bank had certified when it was asked last, as it is for `until_gap`."""
        self._raise()
        return self._gap

    def run(
        self, deadline_s: float | None = None, until_gap: float | None = None, min_tasks: int = 1
    ) -> None:
        """Work in this thread until one of these comes true, or `request_stop()`.

        Args:
            deadline_s: for at most so many seconds.
            until_gap: until the bank has certified that the relative gap of all tasks is at most this.
                It knows none until every task that is there has pushed.
            min_tasks: what is certified for fewer tasks than this does not count: others are to come.
        """
        self._begin(deadline_s, until_gap, min_tasks)
        self._work()

    def start(
        self: R, deadline_s: float | None = None, until_gap: float | None = None, min_tasks: int = 1
    ) -> R:
        """Work in a thread of its own until one of these comes true, as for `run`, or `stop()`."""
        if self._thread is not None:
            raise InvalidRequestError(f"{self._name} was started before: make another one")
        self._begin(deadline_s, until_gap, min_tasks)
        self._thread = threading.Thread(
            target=self._guarded, args=(self._work,), name=self._name, daemon=True
        )
        self._thread.start()
        return self

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of what was started; whether it came within so many seconds.

        Raises the exception that ended it, if any, once.
        """
        if self._thread is not None:
            self._thread.join(seconds("timeout_s", timeout_s, zero=True))
        self._raise()
        return self._thread is None or not self._thread.is_alive()

    def request_stop(self) -> None:
        """Ask it to stop after the step at hand; does not wait."""
        self._stopping = True
        self._agenda.until(-math.inf)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop for now, and wait for the end. The columns stay in the table, as they are.

        Raises the exception that ended it before, if any, once.

        Raises:
            DeadlineExceededError: the step at hand took longer than `timeout_s` seconds.
        """
        self.request_stop()
        if not self.wait(timeout_s):
            raise DeadlineExceededError(f"{self._name} did not stop within {timeout_s} s")

    def leave(self, timeout_s: float = 30.0) -> None:
        """Stop, and take the tasks out of the table with their columns: the others are coupled without them.

        Raises:
            DeadlineExceededError: the step at hand took longer than `timeout_s` seconds.
            CarlsError: the bank could not be told; try again.
        """
        self.stop(timeout_s)
        with self._opened() as table:
            there = set(table.tasks)
            for one in self._participants:
                if one.name in there:
                    table.leave(one.name)

    def __enter__(self: R) -> R:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _name(self) -> str:
        names = [one.name for one in self._participants]
        return f"carls task node {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "")

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _begin(self, deadline_s: float | None, until_gap: float | None, min_tasks: int) -> None:
        if until_gap is not None and not 0 < until_gap < math.inf:
            raise InvalidRequestError(f"until_gap={until_gap!r}: expected a number above 0, such as 1e-6")
        self._raise()
        self._until_gap, self._min_tasks = until_gap or 0.0, integer("min_tasks", min_tasks, 1)
        left_s = math.inf if deadline_s is None else seconds("deadline_s", deadline_s)
        self._agenda.until(-math.inf if self._stopping else time.monotonic() + left_s)

    def _guarded(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._error = error
            self._agenda.until(-math.inf)

    def _work(self) -> None:
        backoff = Backoff()
        while not self._agenda.over:
            try:
                with self._opened() as table:
                    self._with_threads(table)
            except TASK_INTERRUPTIONS as error:
                for one in self._participants:
                    one.interrupted(error)
                self._agenda.pause(backoff.pause_s())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[TaskTable]:
        """The table; what was opened for it is closed after."""
        if not isinstance(self._table, str):
            yield self._table
            return
        bank = connect(self._bank) if isinstance(self._bank, str) else cast("Bank", self._bank)
        # A bank that is away in the end needs no goodbye.
        try:
            table = bank.open(self._table)
            if not isinstance(table, TaskTable):
                raise SpecMismatchError(
                    f"table {self._table!r} is a table of kind {table.spec.kind!r}: expected a table of "
                    "tasks, as bank.tasks(...) opens it",
                    table=self._table,
                )
            try:
                yield table
            finally:
                with contextlib.suppress(*TASK_INTERRUPTIONS):
                    table.close()
        finally:
            if bank is not self._bank:
                with contextlib.suppress(*TASK_INTERRUPTIONS):
                    bank.close()

    def _with_threads(self, table: TaskTable) -> None:
        others = [
            threading.Thread(target=self._guarded, args=(self._turns, table), name=self._name, daemon=True)
            for _ in range(self._threads - 1)
        ]
        for thread in others:
            thread.start()
        try:
            self._turns(table)
        finally:
            self._agenda.until(-math.inf)
            for thread in others:
                thread.join(_JOIN_S)
        self._raise()

    def _turns(self, table: TaskTable) -> None:
        """Take participants from the agenda, one after the other, until the time is up."""
        while (one := self._agenda.take()) is not None:
            # Lets other threads of this process go on: without it one makes many updates while the
            # others' pulls grow old.
            time.sleep(0)
            pause_s = 0.0
            try:
                pause_s = one.step(table, self._wait_s)
                self._look(table)
            except TASK_INTERRUPTIONS as error:
                pause_s = one.interrupted(error)
            finally:
                self._agenda.put_back(one, pause_s)

    def _look(self, table: TaskTable) -> None:
        """Ask for the gap now and then, where its size ends the work."""
        if not self._until_gap:
            return
        updates = sum(one.progress.updates for one in self._participants)
        if (
            updates < self._looked[0] + LOOK * len(self._participants)
            and time.monotonic() < self._looked[1] + LOOK_S
        ):
            return
        self._looked = updates, time.monotonic()
        state = table.state()
        self._gap = state.certified
        if self._gap is None or len(state.nodes) < self._min_tasks:
            return
        if self._gap.relative <= self._until_gap:
            self._agenda.until(-math.inf)
