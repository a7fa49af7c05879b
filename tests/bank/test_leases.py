"""Leases in the engine: who holds which shares, and what becomes of those who are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls.bank import Engine
from carls.bank.clock import Clock
from carls.bank.leases import Leases
from carls.errors import CarlsError, ClientForgottenError, InvalidRequestError
from carls.keys import Keys
from carls.messages import (
    Announce,
    Assign,
    EndLease,
    KnowledgeInfo,
    LatestKnowledge,
    LeaseInfo,
    LeaseShares,
    OpenTable,
    RenewLease,
    WriteId,
)
from carls.specs import EmbeddingSpec


class Hands(Clock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def seconds(self) -> float:
        return self.now

    def ticks(self) -> int:
        return int(self.now * 10_000)


class Group:
    """Makers of one group, in an engine of its own whose clock is set by hand."""

    def __init__(self, shares: int = 8) -> None:
        self.clock = Hands()
        self.engine = Engine.__new__(Engine)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("carls.bank.engine.Clock", lambda: self.clock)
            self.engine.__init__()  # type: ignore[misc]
        self.shares = shares
        self.engine.handle(OpenTable("t", EmbeddingSpec(dim=1).to_json()))
        self._sequence = count(1)

    def turn(self, who: str, seconds: float = 10.0, **changes: Any) -> LeaseInfo:
        fields = {
            "group": "g",
            "holder": who,
            "shares": self.shares,
            "about": "all",
            "seconds": seconds,
            "producer": f"producer of {who}",
            "join": True,
        }
        info = self.engine.handle(LeaseShares(**{**fields, **changes}))
        assert isinstance(info, LeaseInfo)
        return info

    def cover(self, who: str) -> None:
        self.engine.handle(RenewLease("g", who, (f"client of {who}",)))

    def renew(self, who: str) -> None:
        self.engine.handle(RenewLease("g", who, ()))

    def end(self, who: str) -> None:
        self.engine.handle(EndLease("g", who))

    def write(self, who: str, step: int, first: bool = True) -> None:
        write = WriteId(f"client of {who}", next(self._sequence), first)
        values = np.full((1, 1), step, np.float32)
        self.engine.handle(Assign("t", Keys.of([1]), values, step, f"producer of {who}", write))

    def join(self, who: str, group: str) -> None:
        """Alone in a group of its own, with all of its shares."""
        self.turn(who, group=group)
        self.engine.handle(RenewLease(group, who, (f"client of {who}",)))

    def announce(self, who: str, step: int, *parts: int, of: int | None = None) -> None:
        write = WriteId(f"client of {who}", next(self._sequence), True)
        self.engine.handle(Announce("t", parts, of or self.shares, step, f"producer of {who}", write))

    @property
    def step(self) -> int:
        info = self.engine.handle(LatestKnowledge("t", -1, 0.0))
        assert isinstance(info, KnowledgeInfo)
        return info.step


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group()
    yield group
    group.engine.close()


def test_one_alone_holds_everything(group: Group) -> None:
    info = group.turn("a")
    assert (info.shares, info.holders) == (tuple(range(8)), 1)
    assert len(set(info.grants)) == 1
    assert group.turn("a") == info, "another turn changes nothing"


def test_one_who_joins_waits_until_the_other_gives_back(group: Group) -> None:
    before = group.turn("a")
    assert group.turn("b").shares == ()
    kept = group.turn("a")
    assert kept.shares == (0, 1, 2, 3)
    assert kept.grants == before.grants[:4]
    got = group.turn("b")
    assert got.shares == (4, 5, 6, 7)
    assert not set(got.grants) & set(kept.grants)


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["turn", "end", "die"])), max_size=30),
)
def test_shares_end_up_as_even_as_can_be(shares: int, acts: list[tuple[str, str]]) -> None:
    group = Group(shares)
    living: set[str] = set()
    held: dict[str, dict[int, int]] = {}
    for who, act in acts:
        if act == "turn":
            info = group.turn(who)
            living.add(who)
            held[who] = dict(zip(info.shares, info.grants, strict=True))
        elif act == "end":
            group.end(who)
            living.discard(who)
        else:
            living.discard(who)
            for _ in range(2):
                group.clock.now += 6
                for other in living:
                    group.renew(other)
        held = {who: shares for who, shares in held.items() if who in living}
        # What is held is held by one: those who have had no turn since think they hold no less than they do.
        everything = [share for shares in held.values() for share in shares]
        assert len(everything) == len(set(everything))
    for _ in range(3):
        turns = {who: group.turn(who) for who in sorted(living)}
    if living:
        sizes = [len(info.shares) for info in turns.values()]
        assert sorted(share for info in turns.values() for share in info.shares) == list(range(shares))
        assert max(sizes) - min(sizes) <= 1
        assert {info.holders for info in turns.values()} == {len(living)}


def test_a_lease_lasts_as_long_as_it_is_renewed(group: Group) -> None:
    group.turn("a")
    for _ in range(5):
        group.clock.now += 9
        group.renew("a")
    assert group.turn("b").shares == ()
    group.clock.now += 11
    assert group.turn("b").shares == tuple(range(8))
    with pytest.raises(ClientForgottenError, match=r"group 'g' has run out.*Lease again"):
        group.renew("a")


@pytest.mark.parametrize("others", [False, True])
def test_who_has_joined_before_has_to_join_anew_when_its_lease_has_run_out(
    group: Group, others: bool
) -> None:
    with pytest.raises(ClientForgottenError, match="Lease again"):
        group.turn("a", join=False)  # as of a bank that was restarted
    assert group.turn("a").shares == group.turn("a", join=False).shares == tuple(range(8))
    group.clock.now += 11
    if others:
        group.turn("b")
    with pytest.raises(ClientForgottenError, match=r"group 'g' has run out.*Lease again"):
        group.turn("a", join=False)
    assert group.turn("b").shares == tuple(range(8)), "it has not come in by that"


def test_names_of_clients_are_short(group: Group) -> None:
    group.turn("a")
    with pytest.raises(InvalidRequestError, match="expected 32 hex digits"):
        group.engine.handle(RenewLease("g", "a", ("x" * 65,)))
    with pytest.raises(InvalidRequestError, match="expected 32 hex digits"):
        group.write("x" * 65, 1)


def test_what_was_ended_is_free_at_once(group: Group) -> None:
    group.turn("a"), group.turn("b")
    group.end("a")
    group.end("a")
    assert group.turn("b").shares == tuple(range(8))


def test_a_share_that_changed_hands_comes_by_another_grant(group: Group) -> None:
    first = group.turn("a")
    group.clock.now += 11
    group.turn("b")
    group.clock.now += 11
    again = group.turn("a")
    assert again.shares == first.shares
    assert not set(again.grants) & set(first.grants)


def test_who_was_silent_for_too_long_neither_writes_nor_announces(group: Group) -> None:
    group.turn("a"), group.cover("a")
    group.write("a", 1), group.announce("a", 1, *range(8))
    group.clock.now += 11
    with pytest.raises(ClientForgottenError, match="run out"):
        group.announce("a", 2, 0)  # nobody else has asked yet
    group.turn("b"), group.cover("b")
    group.write("b", 3), group.announce("b", 3, *range(8))
    for act in (lambda: group.write("a", 2, first=False), lambda: group.announce("a", 2, 0)):
        with pytest.raises(ClientForgottenError, match="was not applied"):
            act()
    assert group.step == 3
    with pytest.raises(ClientForgottenError):
        group.turn("a"), group.write("a", 2, first=False)  # the lease is new, the client is not


def test_even_a_first_write_is_refused_after_the_end(group: Group) -> None:
    group.turn("a"), group.cover("a")
    group.end("a")
    with pytest.raises(ClientForgottenError, match="was not applied"):
        group.write("a", 1)


def test_only_parts_that_are_held_may_be_announced(group: Group) -> None:
    group.turn("a"), group.turn("b"), group.turn("a"), group.turn("b")
    group.cover("a"), group.cover("b")
    group.announce("a", 5, 0, 1, 2, 3)
    for parts, of in (((3, 4), 8), ((0,), 4), ((0,), 1)):
        with pytest.raises(InvalidRequestError, match=r"holds the shares \[0, 1, 2, 3\] of 8 of group 'g'"):
            group.announce("a", 6, *parts, of=of)
    assert group.step == -1
    group.announce("b", 4, 4, 5, 6, 7)
    assert group.step == 4


def test_announcements_stay_right_while_shares_move(group: Group) -> None:
    group.turn("a"), group.cover("a")
    group.announce("a", 10, *range(8))
    group.turn("b"), group.turn("a"), group.turn("b"), group.cover("b")
    assert group.step == 10, "what was made is not forgotten when its share moves"
    group.announce("a", 12, 0, 1, 2, 3)
    assert group.step == 10, "the shares of b are of step 10 still"
    group.announce("b", 11, 4, 5, 6, 7)
    assert group.step == 11
    group.end("b")
    assert group.step == 11
    group.turn("a")
    group.announce("a", 12, 4, 5, 6, 7)  # they were a's before: nobody replaces anybody
    assert group.step == 12
    group.announce("a", 3, 4)
    assert group.step == 12, "a late lower step of the same holder is ignored"


def test_groups_that_write_one_table_unawares_are_told(group: Group) -> None:
    group.join("a", "g"), group.join("b", "h")
    group.announce("a", 10, *range(8))
    group.announce("b", 4, 0, 1, 2)
    assert group.step == 10
    group.announce("a", 12, *range(8))
    group.announce("b", 3, *range(3, 8))
    assert group.step == 3, "the other group's rows are that old"
    with pytest.raises(InvalidRequestError, match=r"'producer of a' and then.*'producer of b'.*share="):
        group.announce("a", 14, 0)
    assert group.step == 3
    group.announce("b", 5, *range(8))
    assert group.step == 5


def test_a_group_and_a_maker_outside_are_told(group: Group) -> None:
    group.announce("alone", 1, 0, of=1)
    group.join("a", "g")
    group.announce("a", 2, *range(7))
    group.announce("alone", 3, 0, of=1)
    group.announce("a", 1, 7)
    assert group.step == 1
    with pytest.raises(InvalidRequestError, match="replaced"):
        group.announce("alone", 4, 0, of=1)
    group.announce("outside", 9, 0, of=1)
    with pytest.raises(InvalidRequestError, match="replaced"):
        group.announce("a", 10, 7)
    assert group.step == 9
    group.announce("intruder", 11, 0, of=8)
    assert group.step == 9, "a part of as many, but of nobody's group, is another part"


def test_a_group_that_comes_anew_is_no_stranger(group: Group) -> None:
    group.join("a", "g")
    group.announce("a", 1, *range(8))
    group.announce("alone", 2, 0, of=1)
    group.end("a")
    group.join("b", "g")
    group.announce("b", 1, *range(8))
    assert group.step == 1
    group.end("b")
    group.join("c", "g")
    group.announce("c", 0, 3)
    assert group.step == 0, "the same rows, made anew from an earlier step"


def test_what_a_group_of_the_same_name_shared_before_counts_no_more(group: Group) -> None:
    group.join("a", "g")
    group.announce("a", 9, *range(8))
    group.end("a")
    group.turn("b", about="others"), group.cover("b")
    group.announce("b", 12, *range(7))
    assert group.step == 9, "a's rows are there; b's are not complete"
    group.announce("b", 11, 7)
    assert group.step == 11


def test_a_fence_waits_for_a_write_that_is_being_applied(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.turn("a"), group.cover("a")
    inside, on = threading.Event(), threading.Event()
    table = group.engine._catalog.find("t")
    assign: Callable[..., Any] = table.assign  # type: ignore[union-attr]

    def slow(*arguments: Any) -> Any:
        inside.set()
        assert on.wait(30)
        return assign(*arguments)

    monkeypatch.setattr(table, "assign", slow)
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(group.write, "a", 1)
        assert inside.wait(30)
        group.clock.now += 11
        joining = pool.submit(group.turn, "b")
        with pytest.raises(TimeoutError):
            joining.result(0.2)
        on.set()
        writing.result(30)
        assert joining.result(30).shares == tuple(range(8))


@pytest.mark.parametrize(
    "changes",
    [
        {"about": "others"},
        {"shares": 9},
        {"shares": 0, "group": "h"},
        {"shares": 1025, "group": "h"},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"seconds": 1e9},
        {"group": "a b"},
        {"group": ""},
        {"holder": ""},
        {"holder": "x" * 201},
        {"about": "x" * 1001, "group": "h"},
        {"producer": ""},
    ],
)
def test_leases_that_cannot_be(group: Group, changes: dict[str, Any]) -> None:
    group.turn("a")
    with pytest.raises(CarlsError, match="expected"):
        group.turn(**{"who": "b", **changes})
    assert group.turn("a").shares == tuple(range(8))


def test_there_is_a_limit_to_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_GROUPS", "MAX_HOLDERS", "MAX_COVERED"):
        monkeypatch.setattr(f"carls.bank.leases.{name}", 2)
    leases = Leases(Clock())

    def take(group: str, who: str) -> LeaseInfo:
        return leases.take(LeaseShares(group, who, 4, "all", 10.0, "p", True))

    take("g", "a"), take("g", "b"), take("h", "a")
    with pytest.raises(InvalidRequestError, match="2 holders"):
        take("g", "c")
    with pytest.raises(InvalidRequestError, match="2 groups"):
        take("i", "a")
    with pytest.raises(InvalidRequestError, match="at most 2"):
        leases.renew("g", "a", ("1", "2", "3"))
    leases.leave("h", "a")
    leases.remove("h", "a")
    assert take("i", "a").shares == (0, 1, 2, 3), "an empty group is forgotten"
