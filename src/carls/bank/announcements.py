"""The announcements of one table: how new its makers say that its rows are."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from carls.bank.checks import check_producer, check_wait
from carls.bank.clock import TICKS_PER_S, Clock
from carls.errors import InvalidRequestError
from carls.messages import Announce, KnowledgeInfo

#: Most parts that makers may share a table in.
MAX_PARTS = 1024
#: Announcers of parts remembered as replaced, so that they are refused when they announce again.
MAX_REPLACED = 4 * MAX_PARTS
#: Divisions of one table of which something is kept, the complete one among them.
MAX_DIVISIONS = 16

#: Group, what it shares, and number of parts: where any of them differs, a part is of other rows.
_Division: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True)
class Announcer:
    """Who announces.

    Attributes:
        client: that the announcement is of.
        group: under whose lease it makes rows; "": under none.
        about: what the group shares.
        life: of the group: another one after all of its holders were gone.
    """

    client: str
    group: str = ""
    about: str = ""
    life: int = 0

    @property
    def owner(self) -> str:
        """Whose the parts are: the group's, which itself tells its makers apart, or the client's."""
        return f"{self.group}#{self.life}" if self.group else self.client


@dataclass(frozen=True)
class _Announcement:
    part: int
    step: int
    client: str
    owner: str
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
    All parts are their group's then, whose division is of its own: other groups, and makers in none, do
    not know its rows. When one division takes the place of another, those of the old one are refused.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._divisions: OrderedDict[_Division, dict[int, _Announcement]] = OrderedDict()
        self._complete: _Division | None = None
        self._replaced: OrderedDict[tuple[_Division, int, str], None] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, request: Announce, ticks: int, by: Announcer) -> None:
        """Take an announcement, at `ticks` of the bank's clock; a client's step that is not above its last
        one changes nothing.

        Raises:
            InvalidRequestError: a step or part that cannot be, or others have taken a part over.
        """
        step, parts = request.step, request.parts
        if step < 0 or not request.part or not all(0 <= part < parts <= MAX_PARTS for part in request.part):
            raise InvalidRequestError(
                f"announcement of step {step} for part {_listed(request.part)} of {parts} of table "
                f"{self._table!r}: expected step >= 0 and 0 <= part < parts <= {MAX_PARTS}",
                table=self._table,
            )
        check_producer(request.producer)
        at = (by.group, by.about, parts)
        with self._changed:
            division = self._divisions.get(at, {})
            for part in request.part:
                if (at, part, by.owner) not in self._replaced:
                    continue
                if (present := division.get(part) or self._oldest) is not None:
                    raise self._was_replaced(request, part, present)
            news = [part for part in request.part if not _late(division.get(part), step, by.client)]
            if not news:
                return
            for part in news:
                last = division.get(part)
                if last is not None and last.owner != by.owner:
                    self._replace(at, part, last.owner)
                division[part] = _Announcement(part, step, by.client, by.owner, request.producer, ticks)
            self._divisions[at] = division
            if len(division) == parts and at != self._complete:
                self._take_place(at)
            elif len(self._divisions) > MAX_DIVISIONS:
                del self._divisions[next(one for one in self._divisions if one != self._complete)]
            self._changed.notify_all()

    def _take_place(self, at: _Division) -> None:
        """Have a division count that has become complete."""
        division, old = self._divisions[at], self._complete
        if old is not None:
            owners = {one.owner for one in division.values()}
            for part, last in self._divisions[old].items():
                if last.owner not in owners:  # else it has divided the rows anew itself
                    self._replace(old, part, last.owner)
        self._complete = at
        self._divisions = OrderedDict({at: division})

    def _replace(self, at: _Division, part: int, owner: str) -> None:
        self._replaced[at, part, owner] = None
        while len(self._replaced) > MAX_REPLACED:
            self._replaced.popitem(last=False)

    def _was_replaced(self, request: Announce, part: int, present: _Announcement) -> InvalidRequestError:
        return InvalidRequestError(
            f"table {self._table!r}: part {part} of {request.parts} was announced by {request.producer!r} "
            f"and then, through another handle or group, by {present.producer!r}: expected one announcer at "
            "a time, and the first was replaced. Stop one of them, let makers share the rows with the same "
            "share=, or let each announce a part of its own with part= and parts=",
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
        if self._complete is None:
            at, division = next(reversed(self._divisions.items()))
            missing = next(part for part in range(at[2]) if part not in division)
            return KnowledgeInfo(-1, missing, at[2], "", 0.0)
        oldest = self._oldest
        assert oldest is not None
        age = (ticks - oldest.made) / TICKS_PER_S
        return KnowledgeInfo(oldest.step, oldest.part, self._complete[2], oldest.producer, age)

    @property
    def _oldest(self) -> _Announcement | None:
        """Of the oldest part of the complete division; None without one."""
        if self._complete is None:
            return None
        return min(self._divisions[self._complete].values(), key=lambda one: (one.step, one.part))


def _late(last: _Announcement | None, step: int, client: str) -> bool:
    return last is not None and last.client == client and last.step >= step


def _listed(parts: tuple[int, ...]) -> str:
    return ", ".join(map(str, parts[:10])) + ", ..." * (len(parts) > 10) or "(none)"
