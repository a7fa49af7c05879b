"""Announcements in the engine: whose words count, and waits that end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls.bank import Engine
from carls.bank.announcements import MAX_DIVISIONS
from carls.errors import ClosedError, InvalidRequestError, UnknownTableError
from carls.messages import Announce, DropTable, KnowledgeInfo, LatestKnowledge, OpenTable, WriteId
from carls.specs import EmbeddingSpec


class Makers:
    """Announces to a table of its own engine as whoever is named."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.open()
        self._sequence = count(1)

    def open(self) -> None:
        self.engine.handle(OpenTable("t", EmbeddingSpec(dim=2).to_json()))

    def announce(self, who: str, step: int, part: int = 0, parts: int = 1) -> None:
        write = WriteId(who, next(self._sequence), True)
        self.engine.handle(Announce("t", (part,), parts, step, f"producer of {who}", write))

    def latest(self, at_least: int = -1, wait_s: float = 0.0) -> KnowledgeInfo:
        info = self.engine.handle(LatestKnowledge("t", at_least, wait_s))
        assert isinstance(info, KnowledgeInfo)
        return info

    @property
    def step(self) -> int:
        return self.latest().step


@pytest.fixture
def makers() -> Makers:
    return Makers()


def test_nothing_is_known_before_the_first_announcement(makers: Makers) -> None:
    assert makers.latest() == KnowledgeInfo(-1, 0, 0, "", 0.0)


def test_a_late_lower_step_is_ignored(makers: Makers) -> None:
    for step in (5, 3, 4, 5):
        makers.announce("a", step)
    info = makers.latest()
    assert (info.step, info.part, info.parts, info.producer) == (5, 0, 1, "producer of a")
    assert info.age >= 0


def test_a_repeated_announcement_is_taken_once(makers: Makers) -> None:
    request = Announce("t", (0,), 1, 5, "p", WriteId("a", 1, True))
    makers.engine.handle(request)
    makers.announce("b", 2)
    makers.engine.handle(request)  # its reply was lost; meanwhile another maker has taken over
    assert makers.step == 2


def test_a_new_maker_takes_over_at_whatever_step(makers: Makers) -> None:
    makers.announce("dead", 1000)
    makers.announce("new", 5)  # of a trainer that has begun anew: the rows are of step 5 now
    assert (makers.step, makers.latest().producer) == (5, "producer of new")


def test_a_maker_that_was_replaced_is_refused(makers: Makers) -> None:
    makers.announce("a", 1)
    makers.announce("b", 2)
    with pytest.raises(InvalidRequestError, match=r"'producer of a'.*'producer of b'.*part= and parts="):
        makers.announce("a", 3)
    assert makers.step == 2
    makers.announce("b", 3)
    assert makers.step == 3


def test_the_oldest_part_counts_and_all_must_be_there(makers: Makers) -> None:
    makers.announce("a", 7, part=0, parts=3)
    makers.announce("c", 9, part=2, parts=3)
    assert makers.latest() == KnowledgeInfo(-1, 1, 3, "", 0.0)
    makers.announce("b", 4, part=1, parts=3)
    assert (makers.step, makers.latest().part) == (4, 1)
    makers.announce("b", 8, part=1, parts=3)
    assert (makers.step, makers.latest().part) == (7, 0)


def test_a_new_division_counts_when_it_is_complete(makers: Makers) -> None:
    makers.announce("old", 7)
    makers.announce("a", 9, part=0, parts=2)
    assert makers.step == 7
    makers.announce("b", 8, part=1, parts=2)
    assert makers.step == 8
    makers.announce("whole", 3, part=1, parts=3)  # part of a division that never is complete
    assert makers.step == 8


PARTS = st.integers(1, 3).flatmap(lambda parts: st.tuples(st.integers(0, parts - 1), st.just(parts)))


@given(st.lists(st.tuples(PARTS, st.integers(0, 9)), max_size=30))
def test_any_sequence_of_announcements(said: list[tuple[tuple[int, int], int]]) -> None:
    makers = Makers()
    since: list[tuple[tuple[int, int], int]] = []  # all that counts, told anew from the start each time
    replaced: set[tuple[int, int]] = set()
    expected, complete = -1, 0
    for (part, parts), step in said:
        if (part, parts) in replaced:
            with pytest.raises(InvalidRequestError, match="the first was replaced"):
                makers.announce(f"{part}/{parts}", step, part, parts)
            assert makers.step == expected
            continue
        makers.announce(f"{part}/{parts}", step, part, parts)
        if any(who == (part, parts) and s >= step for who, s in since):
            assert makers.step == expected, "it is late, and changes nothing"
            continue
        since.append(((part, parts), step))
        steps = [max((s for who, s in since if who == (one, parts)), default=None) for one in range(parts)]
        if None not in steps:
            if parts != complete:
                replaced |= {(one, complete) for one in range(complete)}
                since, complete = [one for one in since if one[0][1] == parts], parts
            expected = min(step for step in steps if step is not None)
        assert makers.step == expected


def test_who_goes_on_alone_does_not_undo_what_others_have_announced(makers: Makers) -> None:
    makers.announce("alone", 1)
    makers.announce("a", 1, part=0, parts=2)
    makers.announce("alone", 2)
    makers.announce("b", 1, part=1, parts=2)
    assert makers.step == 1, "the rows of a and b are of step 1"
    with pytest.raises(InvalidRequestError, match=r"'producer of alone' and then.*'producer of [ab]'"):
        makers.announce("alone", 3)
    assert makers.step == 1


def test_who_divides_the_rows_anew_replaces_nobody_but_others(makers: Makers) -> None:
    makers.announce("a", 1, part=0, parts=2)
    makers.announce("b", 1, part=1, parts=2)
    makers.announce("a", 2)
    makers.announce("a", 3, part=0, parts=2)  # as before, though b is out
    with pytest.raises(InvalidRequestError, match="replaced"):
        makers.announce("b", 3, part=1, parts=2)
    assert makers.step == 2


def test_parts_of_divisions_without_end_take_no_more_room(makers: Makers) -> None:
    makers.announce("whole", 5)
    for parts in range(2, 200):
        makers.announce("a", 1, part=0, parts=parts)
    announcements = makers.engine._catalog.find("t").announcements
    assert len(announcements._divisions) == MAX_DIVISIONS
    assert makers.step == 5
    makers.announce("a", 7, part=1, parts=199)
    makers.announce("whole", 6)
    assert makers.step == 6


@pytest.mark.parametrize(
    ("step", "part", "parts"), [(-1, 0, 1), (1, 1, 1), (1, -1, 1), (1, 0, 0), (1, 0, 1025)]
)
def test_announcements_that_cannot_be(makers: Makers, step: int, part: int, parts: int) -> None:
    with pytest.raises(InvalidRequestError, match="0 <= part < parts <= 1024"):
        makers.announce("a", step, part, parts)
    assert makers.latest() == KnowledgeInfo(-1, 0, 0, "", 0.0)


def test_several_parts_are_announced_at_once(makers: Makers) -> None:
    for step, parts in ((4, (0, 2)), (6, (1,)), (5, (0, 1))):
        write = WriteId("a", next(makers._sequence), True)
        makers.engine.handle(Announce("t", parts, 3, step, "p", write))
    assert (makers.step, makers.latest().part) == (4, 2)
    for wrong in ((), (0, 3), (1, -1)):
        write = WriteId("a", next(makers._sequence), True)
        with pytest.raises(InvalidRequestError, match="0 <= part < parts"):
            makers.engine.handle(Announce("t", wrong, 3, 9, "p", write))
    assert makers.step == 4, "nothing of it was taken"


def test_a_table_that_is_not_there(makers: Makers) -> None:
    makers.announce("a", 5)
    makers.engine.handle(DropTable("t", WriteId("dropper", 1, True)))
    with pytest.raises(UnknownTableError):
        makers.announce("a", 6)
    with pytest.raises(UnknownTableError):
        makers.latest()
    makers.open()
    assert makers.step == -1


@pytest.mark.parametrize("wait_s", [float("nan"), -1.0, float("inf")])
def test_waits_that_cannot_be(makers: Makers, wait_s: float) -> None:
    with pytest.raises(InvalidRequestError, match="wait_s"):
        makers.latest(wait_s=wait_s)


def test_a_wait_ends_with_what_there_is(makers: Makers) -> None:
    makers.announce("a", 2)
    assert makers.latest(at_least=3, wait_s=0.01).step == 2


def reply_when(makers: Makers, act: Callable[[], Any]) -> Any:
    """What a client that waits for step 5 is told when `act` happens."""
    replies: list[Any] = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        try:
            replies.append(makers.latest(at_least=5, wait_s=60.0).step)
        except (ClosedError, UnknownTableError) as error:
            replies.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(10)
    act()
    thread.join(10)
    assert not thread.is_alive()
    return replies[0]


def test_an_announcement_wakes_who_waits(makers: Makers) -> None:
    def announce() -> None:
        for step in (3, 4, 6):
            makers.announce("a", step)

    assert reply_when(makers, announce) == 6


def test_the_end_of_the_bank_wakes_who_waits(makers: Makers) -> None:
    told = reply_when(makers, makers.engine.close)
    assert told == -1 or isinstance(told, ClosedError)


def test_the_end_of_the_table_wakes_who_waits(makers: Makers) -> None:
    told = reply_when(makers, lambda: makers.engine.handle(DropTable("t", WriteId("dropper", 1, True))))
    assert told == -1 or isinstance(told, UnknownTableError)
