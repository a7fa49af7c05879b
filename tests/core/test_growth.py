"""Limits, eviction, expiry and admission, against brute force."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank.embeddings import EmbeddingTable
from carls.keys import Keys
from carls.messages import AgeBound
from carls.specs import EmbeddingSpec
from carls.testing.oracle import initial_value

ANY_AGE = AgeBound()
POLICIES = ["lru", "lfu", "fifo"]


class Timed:
    """An engine's table under a clock of our own, in ticks of 0.1 ms."""

    def __init__(self, **spec: Any) -> None:
        self.spec = EmbeddingSpec(dim=2, keys="int64", initializer=carls.Uniform(), **spec)
        self.table = EmbeddingTable("t", self.spec)
        self.now = 1

    def lookup(self, keys: list[int], create: bool = True) -> Any:
        return self.table.lookup(Keys.of(keys), create, ANY_AGE, self.now, "me")

    def assign(self, keys: list[int]) -> Any:
        return self.table.assign(Keys.of(keys), np.ones((len(keys), 2), np.float32), 1, 0, self.now)

    def present(self, keys: range) -> set[int]:
        found = self.lookup(list(keys), create=False)[1]["found"]
        return {key for key, there in zip(keys, found, strict=True) if there}


@dataclass
class Used:
    """What a policy knows of a row: by batches, and how often looked up."""

    made: int
    last: int
    count: int = 0

    def rank(self, policy: str) -> tuple[int, ...]:
        return {"lru": (self.last,), "fifo": (self.made,), "lfu": (self.count, self.last)}[policy]


@given(
    policy=st.sampled_from(POLICIES),
    most=st.integers(1, 16),
    batches=st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True)),
        max_size=40,
    ),
)
@settings(deadline=None, max_examples=100)
def test_small_tables_evict_exactly(policy: str, most: int, batches: list[Any]) -> None:
    timed = Timed(max_rows=most, eviction=policy)
    known: dict[int, Used] = {}
    for number, (writes, keys) in enumerate(batches):
        fitting = min(most, len(set(keys) | set(known)))
        before = dict(known)
        if writes:
            done = timed.assign(keys)
            kept = timed.present(range(41)) & set(keys)
            assert set(keys) & set(before) <= kept
            assert done.rows == len(kept)
            assert done.dropped == len(keys) - len(kept)
        else:
            values, meta = timed.lookup(keys)
            expected = [initial_value(timed.spec, key) for key in keys]
            fresh = [i for i, key in enumerate(keys) if key not in before]
            np.testing.assert_array_equal(values[fresh], np.array(expected)[fresh].reshape(len(fresh), 2))
            kept = {key for key, found in zip(keys, meta["found"], strict=True) if found}
            assert set(keys) & set(before) <= kept
            assert meta["created"].tolist() == [k in kept and k not in before for k in keys]
        present = timed.present(range(41))
        assert kept <= present
        assert len(present) == len(timed.table) == fitting
        assert len(kept) == min(most, len(keys))
        gone = set(before) - present
        staying = [k for k in before if k in present and k not in keys]
        for key in kept:
            known.setdefault(key, Used(number, number))
            known[key].last = number
            known[key].count += not writes
        if not writes and gone and staying:
            ranks = [known[key].rank(policy) for key in gone]
            assert max(ranks) <= min(known[key].rank(policy) for key in staying)
        for key in gone:
            del known[key]


@pytest.mark.parametrize("policy", POLICIES)
def test_large_tables_keep_what_the_policy_keeps(policy: str) -> None:
    timed = Timed(max_rows=20_000, eviction=policy)
    hot, rng = np.arange(1000), np.random.default_rng(0)
    lost = []
    for start in range(10_000, 160_000, 500):
        assert timed.lookup(list(range(start, start + 500)))[1]["found"].all()
        meta = timed.lookup(rng.permutation(hot).tolist())[1]
        assert meta["found"].all()
        lost.append(int(meta["created"].sum()))
        assert len(timed.table) <= 20_000
    assert len(timed.table) == 20_000
    if policy != "fifo":
        assert sum(lost[1:]) < 30  # of 300,000
    else:  # each comes back in its turn: 150,000 made, in 20,000 places
        assert 3 * 1000 < sum(lost[1:]) < 9 * 1000
        young = timed.lookup(list(range(155_000, 160_000)), create=False)[1]["found"]
        assert young.mean() > 0.95
    if policy == "lru":
        assert timed.lookup(list(range(150_000, 160_000)), create=False)[1]["found"].mean() > 0.95


def test_the_least_often_used_are_forgotten_in_time() -> None:
    timed = Timed(max_rows=1000, eviction="lfu")
    old, new = list(range(1000)), list(range(1000, 2000))
    for _ in range(300):
        timed.lookup(old)
    assert timed.lookup(old, create=False)[1]["found"].all()
    rng = np.random.default_rng(0)
    for _ in range(3000):
        timed.lookup(rng.choice(new, 200, replace=False).tolist())
    assert timed.lookup(new, create=False)[1]["found"].mean() > 0.95


def test_a_batch_of_more_keys_than_rows() -> None:
    timed = Timed(max_rows=5000, optimizer="sgd")
    keys = list(range(20_000))
    for first in (0, 100_000):
        batch = [key + first for key in keys]
        values, meta = timed.lookup(batch)
        assert meta["found"].sum() == meta["created"].sum() == 5000 == len(timed.table)
        np.testing.assert_array_equal(values, [initial_value(timed.spec, key) for key in batch])
    counted = timed.table.statistics(1).counters
    assert (counted.unadmitted, counted.missed, counted.evicted) == (30_000, 30_000, 5000)
    pushed = timed.table.push(Keys.of(keys), np.ones((20_000, 2), np.float32), 1, 0, 1)
    assert (pushed.rows, pushed.dropped) == (5000, 15_000)


@pytest.mark.parametrize("kind", ["int64", "string"])
@pytest.mark.parametrize("dim", [2, 64, 3000])
def test_bytes_stay_within_the_limit(kind: str, dim: int) -> None:
    limit = 4 << 20
    rng = np.random.default_rng(0)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim, max_bytes=limit, optimizer="adam", initializer="zeros")
        made = 0
        for start in range(0, 40_000, 1000):
            keys: Any = np.arange(start, start + 1000) * 7919
            if kind == "string":
                keys = [f"{key:0{rng.integers(10, 60)}d}" for key in keys.tolist()]
            made = int(table.lookup(keys).found.sum())
            assert table.describe().nbytes <= limit
        row_bytes = 32 + 4 * (3 * dim + 1) + 8 + 8 + (36 if kind == "string" else 0)
        assert len(table) > 0.7 * limit / row_bytes
        assert made >= min(1000, 0.7 * limit / row_bytes)
        counted = table.statistics().counters
        assert counted.created == counted.evicted + len(table)


@pytest.mark.parametrize("policy", POLICIES)
def test_limits_hold_at_every_moment(policy: str) -> None:
    most, limit = 3000, 1 << 20
    with carls.connect() as bank:
        spec: dict[str, Any] = {
            "dim": 8,
            "optimizer": "adagrad",
            "max_rows": most,
            "max_bytes": limit,
            "eviction": policy,
        }
        handles = [bank.embeddings("t", **spec) for _ in range(5)]
        done = threading.Event()
        errors: list[BaseException] = []

        def work(handle: carls.EmbeddingTable, seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(120):
                keys = rng.choice(20_000, 500, replace=False)
                rows = handle.lookup(keys)
                assert (rows.found | (rows.version == 0)).all()
                handle.push_gradients(keys[:100], np.ones((100, 8), np.float32))
                handle.erase(keys[:5])

        def watch(handle: carls.EmbeddingTable) -> None:
            while not done.is_set():
                assert len(handle) <= most
                assert handle.describe().nbytes <= limit

        def guarded(call: Any, *arguments: Any) -> None:
            try:
                call(*arguments)
            except BaseException as error:
                errors.append(error)

        workers = [threading.Thread(target=guarded, args=(work, handles[i], i)) for i in range(4)]
        watcher = threading.Thread(target=guarded, args=(watch, handles[4]))
        for thread in [*workers, watcher]:
            thread.start()
        for thread in workers:
            thread.join(60)
        done.set()
        watcher.join(60)
        assert not watcher.is_alive()
        assert not any(thread.is_alive() for thread in workers)
        assert errors == []
        assert len(handles[0]) > 0.9 * most


def test_a_walk_is_exact_for_rows_that_stay() -> None:
    timed = Timed(max_rows=4000, eviction="lfu")
    stable = list(range(500))
    timed.lookup(stable)
    stop = threading.Event()

    def churn() -> None:
        start = 1000
        while not stop.is_set():
            timed.lookup(stable + list(range(start, start + 500)))
            start += 500

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            cursor, seen = 0, []
            while cursor >= 0:
                keys, cursor = timed.table.page(cursor, 300)
                seen += keys.tolist() if keys is not None else []
            assert sorted(key for key in seen if key < 500) == stable
    finally:
        stop.set()
        thread.join(60)


def test_an_evicted_row_comes_back_as_new() -> None:
    timed = Timed(max_rows=8, optimizer=carls.Adam(lr=0.1))
    keys, gradients = list(range(8)), np.linspace(1, 3, 16, dtype=np.float32).reshape(8, 2)
    for first in (0, 100, 0):  # the rows of 100 to 107 lie where those of 0 to 7 lay
        batch = [key + first for key in keys]
        values, meta = timed.lookup(batch)
        assert meta["created"].all()
        np.testing.assert_array_equal(values, [initial_value(timed.spec, key) for key in batch])
        parameter = torch.nn.Parameter(torch.from_numpy(values.copy()))
        optimizer = torch.optim.Adam([parameter], lr=0.1)
        for version in (1, 2, 3):
            timed.table.push(Keys.of(batch), gradients, 1, 0, 1)
            parameter.grad = torch.from_numpy(gradients)
            optimizer.step()
            values, meta = timed.lookup(batch)
            np.testing.assert_allclose(values, parameter.detach().numpy(), rtol=1e-5)
            assert (meta["version"] == version).all()
        assert (meta["count"] == 4).all()


SECONDS = 0.5
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "create", "assign", "erase"]),
        st.lists(st.integers(0, 12), min_size=1, max_size=8),
        st.integers(0, 3000),
    ),
    max_size=40,
)


@given(STEPS)
@settings(deadline=None, max_examples=100)
def test_rows_expire(steps: list[Any]) -> None:
    timed = Timed(eviction=carls.TTL(SECONDS), optimizer="adagrad")
    rows: dict[int, tuple[int, int]] = {}  # key -> time of the last write, version
    for act, keys, passed in steps:
        timed.now += passed
        rows = {key: row for key, row in rows.items() if timed.now - row[0] < SECONDS * 1e4}
        if act in ("look", "create"):
            values, meta = timed.lookup(keys, create=act == "create")
            there = [key in rows for key in keys]
            assert meta["found"].tolist() == [act == "create" or known for known in there]
            assert meta["created"].tolist() == [act == "create" and not known for known in there]
            if act == "create":
                rows.update({key: (timed.now, 0) for key in keys if key not in rows})
            assert meta["version"].tolist() == [rows.get(key, (0, 0))[1] for key in keys]
            assert (values[~meta["found"]] == 0).all()
        elif act == "assign":
            timed.assign(keys)
            for key in keys:
                rows[key] = (timed.now, rows.get(key, (0, 0))[1] + 1)
        else:
            found = timed.table.erase(Keys.of(keys), timed.now)
            assert found.tolist() == [rows.pop(key, None) is not None for key in keys]


def test_memory_of_expired_rows_is_taken_back() -> None:
    timed = Timed(eviction=carls.TTL(1.0))
    timed.lookup(list(range(20_000)))
    timed.now += 9_999
    assert len(timed.present(range(20_000))) == 20_000
    timed.now += 1
    assert not timed.present(range(20_000))
    before = timed.table.nbytes
    for start in range(10**6, 10**6 + 15_000, 500):
        timed.lookup(list(range(start, start + 500)))
    assert len(timed.table) == 15_000
    assert timed.table.nbytes == before
    assert timed.table.statistics(timed.now).counters.expired == 20_000


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=10), max_size=30), st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_keys_are_admitted_at_their_nth_sighting(batches: list[list[int]], after: int) -> None:
    timed = Timed(optimizer="sgd", admission=carls.Admission(after=after))
    seen: dict[int, int] = {}
    dropped = 0
    for keys in batches:
        for key in keys:
            seen[key] = seen.get(key, 0) + 1
        values, meta = timed.lookup(keys)
        assert meta["found"].tolist() == [seen[key] >= after for key in keys]
        unknown = ~meta["found"]
        assert not meta["created"][unknown].any()
        assert not meta["fresh"][unknown].any()
        expected = np.array([initial_value(timed.spec, key) for key in keys])
        np.testing.assert_array_equal(values[unknown], expected[unknown])
        pushed = timed.table.push(Keys.of(keys), np.ones((len(keys), 2), np.float32), 1, 0, 1)
        assert pushed.dropped == unknown.sum()
        dropped += pushed.dropped
    counted = timed.table.statistics(1).counters
    assert counted.unadmitted == counted.missed == dropped


def test_false_admissions_are_few_and_counts_age() -> None:
    window = 1 << 16
    timed = Timed(admission=carls.Admission(after=2, window=window))
    keys = np.arange(4 * window)
    admitted = np.concatenate([timed.lookup(part.tolist())[1]["found"] for part in np.split(keys, 64)])
    assert 0 < admitted.mean() < 0.02
    assert admitted[: window // 64].sum() <= 1
    # Those that were seen once, two windows ago, are strangers again.
    assert timed.lookup(list(range(1000)))[1]["found"].mean() < 0.1
    assert timed.table.nbytes >= timed.spec.admission.nbytes  # type: ignore[union-attr]
