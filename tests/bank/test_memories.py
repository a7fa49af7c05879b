"""Gaussian memories in the engine: exactly once, and parts of a content."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls import messages as m
from carls.bank import Engine
from carls.bank.memories import MAX_UPLOADS
from carls.errors import InvalidRequestError, InvalidValueError, SpecMismatchError
from carls.specs import GaussianMemorySpec
from carls.testing import Fault, connect_with_faults
from carls.testing.memories import PlainMemory

POLICY: dict[str, Any] = {
    "dim": 2,
    "buffer_size": 3,
    "distance_threshold": 2.0,
    "max_clusters": 6,
    "bootstrap_steps": 0,
    "min_variance": 1e-3,
}
ONE = np.ones((1, 2), np.float32)
COUNTS = m.MemoryCounts(1, 2, 3, 4)


@pytest.fixture
def engine() -> Engine:
    engine = Engine()
    engine.handle(m.OpenTable("m", GaussianMemorySpec(**POLICY).to_json()))
    return engine


def points(engine: Engine) -> int:
    reply: Any = engine.handle(m.FetchStatistics("m"))
    return int(reply.memory.points)


def test_a_repeated_write_gets_its_reply_again(engine: Engine) -> None:
    for sequence in (1, 2):
        write = m.WriteId("a" * 32, sequence, sequence == 1)
        first: Any = engine.handle(m.AbsorbPoints("m", sequence * ONE, False, "me", write))
        # What others do meanwhile does not show in a repeated reply.
        kept = [part.copy() for part in first]
        engine.handle(
            m.AbsorbPoints("m", 7 * ONE, False, "you", m.WriteId("b" * 32, sequence, sequence == 1))
        )
        again: Any = engine.handle(m.AbsorbPoints("m", sequence * ONE, False, "me", write))
        for mine, its in zip(again, kept, strict=True):
            np.testing.assert_array_equal(mine, its)
    assert points(engine) == 4


def insist(call: Callable[[], Any]) -> Any:
    """What the call gives, tried again while nothing is sent."""
    while True:
        try:
            return call()
        except carls.OutcomeUnknownError:
            raise
        except (carls.UnavailableError, carls.DeadlineExceededError, carls.LimitReachedError):
            continue


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from([fault for fault in Fault if fault is not Fault.RESTART]), min_size=1, max_size=12
    ),
    st.lists(st.sampled_from(["read", "update", "grow"]), min_size=1, max_size=12),
    st.integers(0, 1000),
)
def test_faults_absorb_every_point_once(faults: list[Fault], modes: list[str], seed: int) -> None:
    draw = np.random.default_rng(seed)
    plain = PlainMemory(**POLICY, distance="squared_l2")
    with connect_with_faults(None, faults) as bank:
        memory = bank.gaussian_memory("m", **POLICY)
        for mode in modes:
            x = (3 * draw.normal(size=(4, 2))).astype(np.float32)
            if mode == "read":
                insist(memory.flush)  # a read does not wait for what has an unknown outcome
            try:
                found = insist(partial(memory.lookup, x, mode))
            except carls.OutcomeUnknownError:
                plain.lookup(x, mode)  # kept by the handle
            else:
                np.testing.assert_array_equal(found.cluster, plain.lookup(x, mode)[0])
        insist(memory.flush)
        told = memory.statistics().memory
    assert told is not None
    assert (told.calls, told.points, told.clusters) == (plain.calls, plain.points, len(plain.buffers))


def load(part: int, parts: int, client: str, sequence: int = 1, **content: Any) -> m.LoadMemory:
    given = {"points": ONE, "cluster": np.zeros(1, np.int64), "counts": COUNTS} | content
    return m.LoadMemory("m", part, parts, **given, producer="me", write=m.WriteId(client, sequence, True))


def test_a_content_is_there_with_its_last_part(engine: Engine) -> None:
    engine.handle(load(0, 2, "a"))
    assert points(engine) == 0
    engine.handle(load(1, 2, "a", 2))
    reply: Any = engine.handle(m.ExportMemory("m"))
    assert reply.points.tolist() == [[1.0, 1.0]] * 2
    assert reply.counts == COUNTS


def test_parts_that_do_not_follow_are_refused(engine: Engine) -> None:
    for part, parts in ((1, 2), (-1, 2), (2, 2), (0, 0)):
        with pytest.raises(InvalidRequestError, match="part"):
            engine.handle(load(part, parts, f"client {part} {parts}"))
    engine.handle(load(0, 3, "a", 1))
    with pytest.raises(InvalidRequestError, match="part"):
        engine.handle(load(2, 3, "a", 2))


def test_only_so_many_contents_are_on_their_way(engine: Engine) -> None:
    for client in range(MAX_UPLOADS + 1):
        engine.handle(load(0, 2, str(client)))
    with pytest.raises(InvalidRequestError, match="given up"):
        engine.handle(load(1, 2, "0", 2))
    engine.handle(load(1, 2, "1", 2))
    assert points(engine) == COUNTS.points


@pytest.mark.parametrize(
    "content",
    [
        {"points": np.ones((1, 3), np.float32)},
        {"points": np.ones((1, 2), np.float16)},
        {"points": np.full((1, 2), np.nan, np.float32)},
        {"cluster": np.zeros(2, np.int64)},
        {"cluster": np.ones(1, np.int64)},
        {"points": np.ones((19, 2), np.float32), "cluster": np.zeros(19, np.int64)},
        {"counts": m.MemoryCounts(-1, 0, 0, 0)},
    ],
    ids=str,
)
def test_contents_that_cannot_be_change_nothing(engine: Engine, content: dict[str, Any]) -> None:
    engine.handle(m.AbsorbPoints("m", ONE, False, "me", m.WriteId("b", 1, True)))
    with pytest.raises(InvalidValueError):
        engine.handle(load(0, 1, "a", **content))
    assert points(engine) == 1


def test_rows_and_memories_are_not_mixed_up(engine: Engine) -> None:
    write = m.WriteId("a", 1, True)
    with pytest.raises(SpecMismatchError, match="gaussian_memory"):
        engine.handle(m.Erase("m", carls.Keys.of([1]), write))
    engine.handle(m.OpenTable("e", carls.EmbeddingSpec(dim=2).to_json()))
    for request in (m.ReadMemory("e", ONE, "me"), m.ExportMemory("e")):
        with pytest.raises(SpecMismatchError, match="embedding"):
            engine.handle(request)


def test_many_clients_lose_no_point(engine: Engine) -> None:
    def work(client: str) -> None:
        for sequence in range(1, 41):
            write = m.WriteId(client, sequence, sequence == 1)
            engine.handle(m.AbsorbPoints("m", sequence * ONE, True, client, write))
            engine.handle(m.ReadMemory("m", ONE, client))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    reply: Any = engine.handle(m.FetchStatistics("m"))
    assert (reply.memory.calls, reply.memory.points) == (160, 160)
    assert (reply.counters.lookups, reply.counters.looked_up, reply.counters.writes) == (160, 160, 160)
    assert {producer.name: producer.written for producer in reply.producers} == dict.fromkeys("abcd", 40)
