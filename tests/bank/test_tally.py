"""What a table tells of its readers and writers, through the engine."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank import Engine
from carls.bank.producers import OTHERS
from carls.bank.tally import MAX_NAMES, Tally, Written
from carls.keys import Keys
from carls.messages import (
    AgeBound,
    Assign,
    Erase,
    FetchStatistics,
    Lookup,
    OpenTable,
    PushGradients,
    WriteId,
)
from carls.specs import SGD, EmbeddingSpec
from carls.statistics import TableStatistics

KEYS = st.lists(st.integers(0, 5), min_size=1, max_size=5)
NAMES = st.sampled_from(["ann", "bob", "cem"])
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["assign", "push", "bad push", "erase", "look", "create", "repeat"]),
        KEYS,
        NAMES,
        st.integers(-1, 9),
    ),
    max_size=30,
)


class Raw:
    """An engine with one table, and requests to it as they come from the wire."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.engine.handle(
            OpenTable("t", EmbeddingSpec(dim=1, keys="int64", optimizer=SGD(lr=1.0)).to_json())
        )
        self.sequence = 0
        self.last: Any = None

    def write(self, kind: type, keys: list[int], *rest: Any) -> None:
        self.sequence += 1
        self.last = kind("t", Keys.of(keys), *rest, WriteId("c", self.sequence, self.sequence == 1))
        self.engine.handle(self.last)

    def lookup(self, keys: list[int], create: bool, reader: str, at_step: int | None = None) -> Any:
        return self.engine.handle(
            Lookup("t", Keys.of(keys), create, AgeBound(at_step, None if at_step is None else 2), 0, reader)
        )

    def statistics(self) -> TableStatistics:
        reply = self.engine.handle(FetchStatistics("t"))
        assert isinstance(reply, TableStatistics)
        return reply


@given(ACTS)
@settings(deadline=None, max_examples=150)
def test_counters_against_counting_by_hand(acts: list[Any]) -> None:
    raw = Raw()
    rows: dict[int, int] = {}  # key -> step
    expected = dict.fromkeys(carls.statistics.Counters().to_json(), 0)
    written: dict[str, int] = {}
    newest: dict[str, int] = {}
    applied = False
    for act, keys, name, step in acts:
        ones = np.ones((len(keys), 1), np.float32)
        if act in ("assign", "push"):
            raw.write(Assign if act == "assign" else PushGradients, keys, ones, step, name)
            rows.update(dict.fromkeys(keys, step))
            versions = len(keys) if act == "assign" else len(set(keys))
            expected["writes"] += 1
            expected["written"] += versions
            written[name] = written.get(name, 0) + versions
            newest[name] = max(newest.get(name, -1), step)
            applied = True
        elif act == "bad push":
            with pytest.raises(carls.InvalidValueError):
                raw.write(PushGradients, keys, ones * np.nan, step, name)
            expected["rejected"] += 1
            applied = False
        elif act == "erase":
            raw.write(Erase, keys)
            expected["erased"] += len(set(keys) & set(rows))
            for key in keys:
                rows.pop(key, None)
            applied = True
        elif act == "repeat" and raw.last is not None:
            if applied:
                raw.engine.handle(raw.last)
            else:
                with pytest.raises(carls.InvalidValueError):
                    raw.engine.handle(raw.last)
            expected["retried" if applied else "rejected"] += 1
        elif act in ("look", "create"):
            raw.lookup(keys, act == "create", name, step)
            expected["lookups"] += 1
            expected["looked_up"] += len(keys)
            missing = sum(key not in rows for key in keys)
            expected["created" if act == "create" else "missed"] += missing
            expected["stale"] += sum(rows[key] < step - 2 for key in keys if key in rows)
            if act == "create":
                rows.update({key: -1 for key in keys if key not in rows})
    found = raw.statistics()
    assert found.counters.to_json() == expected
    assert found.rows == len(rows)
    assert {producer.name: producer.written for producer in found.producers} == written
    assert {producer.name: producer.step for producer in found.producers} == newest
    assert TableStatistics.from_json(found.to_json()) == found


def test_versions_are_what_was_written() -> None:
    raw, rng = Raw(), np.random.default_rng(0)
    for step in range(50):
        keys = rng.integers(0, 20, 12).tolist()
        raw.write(
            PushGradients if step % 2 else Assign, keys, np.ones((len(keys), 1), np.float32), step, "me"
        )
    versions = raw.lookup(list(range(20)), False, "me").meta["version"]
    assert raw.statistics().counters.written == versions.sum()


def test_no_count_is_lost_among_threads() -> None:
    raw, rounds = Raw(), 150
    raw.write(Assign, [0, 1], np.ones((2, 1), np.float32), 1, "me")

    def work(number: int) -> None:
        for turn in range(1, rounds + 1):
            raw.lookup([0, 1, 2], False, f"reader-{turn % 3}", 4)
            keys, ones = Keys.of([0, 0, 1]), np.ones((3, 1), np.float32)
            push = PushGradients(
                "t", keys, ones, turn, f"p-{number % 2}", WriteId(f"c{number}", turn, turn == 1)
            )
            raw.engine.handle(push)
            raw.engine.handle(push)
            with pytest.raises(carls.InvalidRequestError):
                raw.engine.handle(push._replace(write=WriteId("c", 0, False)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, counters = raw.statistics(), raw.statistics().counters
    assert (counters.lookups, counters.missed) == (4 * rounds, 4 * rounds)
    assert (counters.writes, counters.written) == (4 * rounds + 1, 8 * rounds + 2)
    assert (counters.retried, counters.rejected) == (4 * rounds, 4 * rounds)
    assert [reader.lookups for reader in found.readers] == [200, 200, 200]
    assert [(it.name, it.written, it.step) for it in found.producers] == [
        ("me", 2, 1),
        ("p-0", 4 * rounds, rounds),
        ("p-1", 4 * rounds, rounds),
    ]


def test_names_are_bounded_and_nothing_is_lost() -> None:
    raw = Raw()
    for number in range(MAX_NAMES + 10):
        raw.lookup([1], False, f"reader-{number}")
        raw.write(Assign, [1], np.ones((1, 1), np.float32), number, f"producer-{number}")
    found = raw.statistics()
    assert len(found.readers) == len(found.producers) == MAX_NAMES
    assert {reader.name: reader.lookups for reader in found.readers}[OTHERS] == 11
    others = next(producer for producer in found.producers if producer.name == OTHERS)
    assert (others.written, others.step) == (11, MAX_NAMES + 9)
    assert found.counters.lookups == found.counters.written == MAX_NAMES + 10


@pytest.mark.parametrize("reader", ["", "x" * 201, "\ud800"])
def test_a_reader_that_cannot_be_creates_nothing(reader: str) -> None:
    raw = Raw()
    with pytest.raises(carls.InvalidRequestError):
        raw.lookup([1], True, reader)
    assert (raw.statistics().rows, raw.statistics().readers) == (0, ())


def test_rows_that_the_optimizer_clipped_have_a_counter() -> None:
    tally = Tally()
    tally.wrote("me", 3, 1, Written(rows=5, clipped=2))
    tally.wrote("me", 2, 4, Written(rows=1))
    counters = tally.counters(())
    assert (counters.writes, counters.written, counters.clipped) == (2, 6, 2)
    (producer,) = tally.producers(now=10_004)
    assert (producer.step, producer.age) == (3, 1.0)
