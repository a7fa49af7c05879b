"""The announcements of one table: how new its makers say that its rows are."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from carls.bank.checks import check_producer, check_wait
from carls.bank.clock import TICKS_PER_S, Clock
from carls.errors import InvalidRequestError
from carls.messages import Announce, KnowledgeInfo

#: Most parts that makers may share a table in.
MAX_PARTS = 1024
#: Makers remembered as replaced, so that they are refused when they announce again.
MAX_REPLACED = 64


@dataclass(frozen=True)
class _Announcement:
    step: int
    client: str
    producer: str
    made: int


class Announcements:
    """What makers have announced of one table.

    Makers share a table in `parts` parts and each announces its own. The table's knowledge is of
    the step of its oldest part, from when all parts of one division were announced; the division
    that was complete last counts, and the parts of others are forgotten with it. So makers that
    are gone hold nobody up once others have made their rows, in whatever division.

    A part belongs to the client that announced it last. A new client takes it over, with whatever
    step it comes: it writes those rows now. The old client is refused from then on, so that two
    makers that take each other's rows for their own are found out. Where makers lease parts, the lease
    tells whose each is, and a part may go to and fro: what was announced of it stays true, and stays.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._divisions: dict[int, dict[int, _Announcement]] = {}
        self._complete = 0
        self._replaced: deque[tuple[int, int, str]] = deque(maxlen=MAX_REPLACED)
        self._changed = threading.Condition()
        self._closed = False

    def add(self, request: Announce, ticks: int, leased: bool = False) -> None:
        """Take an announcement; a client's step that is not above its last one changes nothing.

        Args:
            request: the announcement. ticks: of the bank's clock. leased: whether the client leases the
                parts: then a lease tells whose they are, and a client to whom a part returns is no intruder.

        Raises:
            InvalidRequestError: a step or part that cannot be, or another client has taken a part over.
        """
        step, parts, client = request.step, request.parts, request.write.client
        if step < 0 or not request.part or not all(0 <= part < parts <= MAX_PARTS for part in request.part):
            raise InvalidRequestError(
                f"announcement of step {step} for part {_listed(request.part)} of {parts} of table "
                f"{self._table!r}: expected step >= 0 and 0 <= part < parts <= {MAX_PARTS}",
                table=self._table,
            )
        check_producer(request.producer)
        with self._changed:
            division = self._divisions.get(parts, {})
            if not leased:
                for part in request.part:
                    self._refuse_replaced(division, part, request)
            news = [part for part in request.part if not _late(division.get(part), step, client)]
            if not news:
                return
            for part in news:
                last = division.get(part)
                if last is not None and last.client != client and not leased:
                    self._replaced.append((parts, part, last.client))
                division[part] = _Announcement(step, client, request.producer, ticks)
            self._divisions[parts] = division
            if len(division) == parts:
                self._complete = parts
                self._divisions = {parts: division}
            self._changed.notify_all()

    def _refuse_replaced(self, division: dict[int, _Announcement], part: int, request: Announce) -> None:
        last, parts = division.get(part), request.parts
        if last is None or (parts, part, request.write.client) not in self._replaced:
            return
        raise InvalidRequestError(
            f"table {self._table!r}: part {part} of {parts} was announced by {request.producer!r} and then, "
            f"through another handle, by {last.producer!r}: expected one announcer at a time, and the first "
            "was replaced. Stop one of them, let makers share the rows with share=, or let each announce a "
            "part of its own with part= and parts=",
            table=self._table,
        )

    def latest(self, at_least: int, wait_s: float, clock: Clock) -> KnowledgeInfo:
        """How new the rows are; waits up to `wait_s` seconds for step `at_least`, or the end."""
        deadline = time.monotonic() + check_wait(wait_s)
        with self._changed:
            while True:
                info = self._info(clock.ticks())
                left = deadline - time.monotonic()
                if info.step >= at_least or left <= 0 or self._closed:
                    return info
                self._changed.wait(left)

    def close(self) -> None:
        """Wake all who wait; they are told what there is."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _info(self, ticks: int) -> KnowledgeInfo:
        if not self._divisions:
            return KnowledgeInfo(-1, 0, 0, "", 0.0)
        if not self._complete:
            parts, division = next(reversed(self._divisions.items()))
            missing = next(part for part in range(parts) if part not in division)
            return KnowledgeInfo(-1, missing, parts, "", 0.0)
        part, oldest = min(self._divisions[self._complete].items(), key=lambda item: item[1].step)
        age = (ticks - oldest.made) / TICKS_PER_S
        return KnowledgeInfo(oldest.step, part, self._complete, oldest.producer, age)


def _late(last: _Announcement | None, step: int, client: str) -> bool:
    return last is not None and last.client == client and last.step >= step


def _listed(parts: tuple[int, ...]) -> str:
    return ", ".join(map(str, parts[:10])) + ", ..." * (len(parts) > 10) or "(none)"
