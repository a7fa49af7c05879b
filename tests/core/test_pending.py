"""Gradients that wait, against the plain table: means, outliers, time, limits, threads."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank.embeddings import EmbeddingTable
from carls.keys import Keys
from carls.messages import AgeBound, Floats
from carls.specs import EmbeddingSpec
from carls.testing import OracleTable

ANY_AGE = AgeBound()
TOLERANCE = {"float32": 1e-5, "float16": 4e-3}


class Timed:
    """An engine's table under a clock of our own, in ticks of 0.1 ms."""

    def __init__(self, **spec: Any) -> None:
        spec = {"dim": 1, "optimizer": carls.SGD(lr=1.0), "initializer": carls.Zeros(), **spec}
        self.table = EmbeddingTable("t", EmbeddingSpec(keys="int64", **spec))
        self.now = 1

    def push(self, keys: list[int], gradients: Any, step: int = 1) -> Any:
        return self.table.push(Keys.of(keys), np.asarray(gradients, np.float32), step, 7, self.now)

    def norms(self, *norms: float, key: int = 0) -> list[float]:
        """The steps that contributions of these norms make, each looked up before the next one."""
        steps = []
        for norm in norms:
            before = float(self.lookup([key])[0][0, 0])
            self.push([key], [[norm]])
            steps.append(before - float(self.lookup([key])[0][0, 0]))
        return steps

    def assign(self, keys: list[int], values: Any, step: int = 1) -> Any:
        return self.table.assign(Keys.of(keys), np.asarray(values, np.float32), step, 7, self.now)

    def lookup(self, keys: list[int], create: bool = True) -> Any:
        return self.table.lookup(Keys.of(keys), create, ANY_AGE, self.now, "me")

    def erase(self, keys: list[int]) -> list[bool]:
        return self.table.erase(Keys.of(keys), self.now).tolist()  # type: ignore[no-any-return]

    def counted(self) -> Any:
        return self.table.statistics(self.now).counters

    @property
    def waiting(self) -> int:
        return self.table.statistics(self.now).pending


GRADIENTS = st.sampled_from([0.0, 0.5, 1.0, -1.0, 2.0, 30.0, -1000.0, 1e6])
BATCHES = st.lists(st.tuples(st.integers(0, 5), GRADIENTS), min_size=1, max_size=6)
ACTS = st.tuples(
    st.sampled_from(["push"] * 6 + ["lookup", "look", "assign", "erase", "export", "settle", "rate"]),
    BATCHES,
    st.integers(0, 400),
)


@given(
    dim=st.sampled_from([1, 3, 17]),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    optimizer=st.sampled_from(
        [
            carls.SGD(lr=0.25, weight_decay=0.125, max_norm=50.0),
            carls.Adagrad(lr=0.5),
            carls.RowwiseAdagrad(lr=0.5, max_norm=100.0),
            carls.Adam(lr=0.1),
        ]
    ),
    max_pending=st.sampled_from([1, 2, 3, 64]),
    factor=st.sampled_from([1.5, 10.0]),
    outliers=st.sampled_from(["clip", "drop"]),
    acts=st.lists(ACTS, max_size=60),
)
@settings(deadline=None, max_examples=150)
def test_streams_do_what_the_plain_table_does(
    dim: int,
    dtype: str,
    optimizer: Any,
    max_pending: int,
    factor: float,
    outliers: str,
    acts: list[Any],
) -> None:
    lazy = carls.Lazy(max_pending=max_pending, max_delay_s=0.05, outlier_factor=factor, outliers=outliers)
    timed = Timed(dim=dim, dtype=dtype, optimizer=optimizer, initializer=carls.Uniform(), aggregate=lazy)
    oracle = OracleTable(timed.table.spec, "me")
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for step, (act, batch, passed) in enumerate(acts):
        timed.now += passed
        keys = [key for key, _ in batch]
        matrix = np.outer([number for _, number in batch], np.linspace(0.5, 1, dim)).astype(np.float32)
        if act == "push":
            timed.push(keys, matrix, step)
            oracle.push(keys, matrix, step, timed.now / 1e4)
        elif act in ("lookup", "look"):
            values, meta = timed.lookup(keys, create=act == "lookup")
            expected, rows, _ = oracle.lookup(keys, act == "lookup")
            np.testing.assert_allclose(values, expected, **close)
            assert meta["version"].tolist() == [row.version if row else 0 for row in rows]
            assert meta["step"].tolist() == [row.step if row else -1 for row in rows]
        elif act == "assign":
            timed.assign(keys, matrix / 1e3, step)
            oracle.assign(keys, matrix / 1e3, step)
        elif act == "erase":
            assert timed.erase(keys) == oracle.erase(keys)
        elif act == "settle":
            timed.table.settle()
            oracle.settle()
        elif act == "rate":
            timed.table.set_learning_rate(0.125 * (1 + step % 3), step, "me", 0.0)
            oracle.set_learning_rate(0.125 * (1 + step % 3))
        else:
            records, meta = timed.table.records(Keys.of(keys), timed.now)
            expected, rows, _ = oracle.lookup(keys, False)
            for i, row in enumerate(rows):
                assert meta["found"][i] == (row is not None)
                if row is not None:
                    np.testing.assert_allclose(records[i, :dim], expected[i], **close)
                    np.testing.assert_allclose(records[i, -2], row.norms.mean, rtol=1e-5)
                    assert records[i, -1] == min(row.norms.seen, 10)
    # Whatever was noticed when: all is applied in the end, in the same groups.
    timed.table.settle()
    oracle.settle()
    keys = sorted(oracle.rows)  # type: ignore[type-var]
    assert len(timed.table) == len(keys)
    counted = timed.counted()
    assert (counted.outliers, counted.clipped) == (oracle.outliers, oracle.clipped)
    assert timed.waiting == 0
    if keys:
        values, meta = timed.lookup(keys, create=False)  # type: ignore[arg-type]
        np.testing.assert_allclose(values, oracle.lookup(keys, False)[0], **close)
        assert meta["version"].tolist() == [oracle.rows[key].version for key in keys]


def test_contributions_are_one_step_and_one_version() -> None:
    timed = Timed(dim=2, aggregate="lazy")
    timed.lookup([1])
    for step, gradient in enumerate(([[1.0, 2.0]], [[3.0, -4.0]], [[5.0, 5.0]])):
        timed.now += 10
        timed.push([1], gradient, step)
    assert timed.waiting == 3
    timed.now += 5
    values, meta = timed.lookup([1])
    assert values.tolist() == [[-3.0, -1.0]]
    assert (meta["version"][0], meta["step"][0], meta["producer"][0]) == (1, 2, 7)
    assert meta["age"][0] == pytest.approx(5e-4)  # since the newest contribution, not since it was applied
    assert timed.waiting == 0
    timed.push([1, 1], [[1.0, 0.0], [1.0, 0.0]])  # summed: one contribution
    timed.push([1], [[4.0, 0.0]])
    assert timed.lookup([1, 1], create=False)[0].tolist() == [[-6.0, -1.0]] * 2


def test_many_contributions_and_long_waits_need_no_look_up() -> None:
    timed = Timed(aggregate=carls.Lazy(max_pending=3, max_delay_s=0.1))
    for _ in range(7):
        timed.push([1], [[1.0]])
    assert timed.waiting == 1
    timed.now += 999
    assert timed.waiting == 1
    timed.now += 1
    assert timed.waiting == 0  # statistics() noticed
    assert timed.lookup([1])[1]["version"].tolist() == [3]
    # Writes notice too, each in the stripes that it goes to.
    timed.push(list(range(1000)), np.ones((1000, 1)))
    timed.now += 1000
    timed.push(list(range(1000, 2000)), np.ones((1000, 1)))
    assert timed.table.pending().waiting == 1000


def test_gradients_that_wait_are_applied_before_a_value_is_set() -> None:
    timed = Timed(optimizer=carls.Adagrad(lr=1.0), aggregate="lazy")
    timed.push([1], [[3.0]])
    timed.assign([1], [[10.0]])
    timed.push([1], [[4.0]])
    values, meta = timed.lookup([1])
    assert values[0, 0] == pytest.approx(10.0 - 4.0 / math.sqrt(3.0**2 + 4.0**2))
    assert meta["version"].tolist() == [3]


def test_what_waits_for_a_row_goes_with_it_and_is_counted() -> None:
    timed = Timed(aggregate="lazy")
    timed.push([1, 2], [[1.0], [1.0]])
    timed.push([1], [[1.0]])
    assert timed.erase([1, 3]) == [True, False]
    assert (timed.counted().discarded, timed.waiting) == (2, 1)
    values, meta = timed.lookup([1, 2])
    assert values.tolist() == [[0.0], [-1.0]]
    assert meta["version"].tolist() == [0, 1]
    few = Timed(aggregate="lazy", max_rows=4)
    for key in range(10):
        few.push([key], [[1.0]])
    assert (few.counted().discarded, few.waiting) == (6, 4)
    mortal = Timed(aggregate="lazy", eviction=carls.TTL(1.0))
    mortal.push([1], [[1.0]])
    mortal.now += 9_000
    mortal.push([1], [[1.0]])  # a contribution is a sign of life
    mortal.now += 9_999
    assert mortal.lookup([1], create=False)[1]["found"].tolist() == [True]
    mortal.now += 1
    assert mortal.lookup([1])[1]["created"].tolist() == [True]


@pytest.mark.parametrize(("outliers", "step"), [("clip", 10.0), ("drop", 0.0)])
def test_outliers_are_clipped_or_dropped(outliers: str, step: float) -> None:
    timed = Timed(aggregate=carls.Lazy(outliers=outliers))
    assert timed.norms(*[1.0] * 10, 9.5) == pytest.approx([1.0] * 10 + [9.5])
    assert timed.counted().outliers == 0
    mean = 0.9 + 0.1 * 9.5
    assert timed.norms(1000.0) == pytest.approx([step * mean], rel=1e-4)
    assert timed.counted().outliers == 1
    version = int(timed.lookup([0])[1]["version"][0])
    assert version == 11 + (outliers == "clip")
    # The outlier moved the mean by 1.9 at most, and that fades.
    mean *= 1.9
    timed.norms(*[1.0] * 30)
    mean = 1 + (mean - 1) * 0.9**30
    assert timed.norms(10 * mean * 0.99) == pytest.approx([10 * mean * 0.99], rel=1e-3)
    assert timed.counted().outliers == 1


def test_a_dropped_outlier_leaves_no_trace_on_the_row() -> None:
    timed = Timed(aggregate=carls.Lazy(outliers="drop"))
    timed.norms(*[1.0] * 10)
    timed.push([0], [[1.0]], step=3)
    timed.now += 50
    assert timed.push([0], [[1e5]], step=9).rows == 0
    meta = timed.lookup([0])[1]
    assert (meta["step"][0], meta["age"][0]) == (3, pytest.approx(5e-3))


@pytest.mark.parametrize("outliers", ["clip", "drop"])
def test_a_lasting_rise_of_norms_is_followed(outliers: str) -> None:
    timed = Timed(aggregate=carls.Lazy(outliers=outliers))
    timed.norms(*[1.0] * 20)
    steps = timed.norms(*[1e6] * 40)
    held_back = sum(step < 0.99e6 for step in steps)
    assert held_back == math.ceil(math.log(1e6 / 10) / math.log(1.9))
    assert steps[held_back:] == pytest.approx([1e6] * (40 - held_back), rel=1e-5)


def test_outliers_among_the_first_ten_do_not_blind_the_row() -> None:
    timed = Timed(aggregate="lazy")
    timed.norms(1.0, 1.0, 1000.0, *[1.0] * 7)
    assert timed.norms(1000.0)[0] < 20


def test_zeros_tell_nothing_of_norms() -> None:
    timed = Timed(aggregate="lazy")
    timed.norms(*[0.0] * 20)
    assert timed.norms(5.0, 0.0, 100.0) == pytest.approx([5.0, 0.0, 100.0])
    assert timed.counted().outliers == 0


def test_norms_survive_moving_with_state() -> None:
    with carls.connect() as bank:
        spec: dict[str, Any] = {"dim": 2, "optimizer": carls.Adam(lr=0.1), "aggregate": "lazy"}
        old, new = bank.embeddings("old", **spec), bank.embeddings("new", **spec)
        for _ in range(10):
            old.push_gradients(["a"], [[1.0, 0.0]])
        moved = old.to_arrow(state=True)
        assert moved.column("state").type.list_size == 5 + 2
        assert new.load(moved, state=True) == 1
        for table in (old, new):
            table.push_gradients(["a"], [[1e3, 0.0]])
            table.push_gradients(["a"], [[1.0, 1.0]])
        np.testing.assert_array_equal(old.lookup(["a"]).values, new.lookup(["a"]).values)
        assert new.statistics().counters.outliers == 1
        eager = bank.embeddings("eager", dim=2, optimizer=carls.Adam(lr=0.1))
        with pytest.raises(carls.SpecMismatchError, match="aggregation"):
            eager.load(moved, state=True)
        for source, target in ((old, eager), (eager, new)):
            done = carls.migrate(source, target)
            assert done.state
            assert done.settled
            source.push_gradients(["a"], [[0.5, 0.5]])
            target.push_gradients(["a"], [[0.5, 0.5]])
            np.testing.assert_array_equal(source.lookup(["a"]).values, target.lookup(["a"]).values)


@pytest.mark.parametrize("dim", [2, 64, 3000])
def test_memory_stays_within_the_limit(dim: int) -> None:
    limit = 4 << 20
    timed = Timed(dim=dim, max_bytes=limit, aggregate=carls.Lazy(max_delay_s=1e6))
    rng = np.random.default_rng(0)
    for _ in range(30):
        keys = rng.choice(20_000, 1000, replace=False).tolist()
        timed.push(keys, np.ones((1000, dim)))
        assert timed.table.nbytes <= limit
    counts, counted = timed.table.pending(), timed.counted()
    assert counts.waiting * dim * 4 <= limit / 8
    # All there is was applied once, waits, or went with its row.
    values, meta = timed.lookup(list(range(20_000)), create=False)
    assert counts.waiting > 0
    assert timed.waiting == 0
    assert (values[meta["found"]] < 0).all()
    assert counted.discarded == counts.discarded


def test_memory_of_what_waited_is_given_back() -> None:
    timed = Timed(dim=64, aggregate=carls.Lazy(max_delay_s=1e6))
    keys = list(range(50_000))
    timed.lookup(keys)
    before = timed.table.nbytes
    timed.push(keys, np.ones((50_000, 64)))
    assert timed.table.nbytes >= before + 50_000 * 64 * 4
    timed.table.settle()
    assert timed.table.nbytes == before


def test_no_contribution_is_lost_whoever_pushes_and_looks() -> None:
    """A contribution of 1 waits alone if it is looked up at once: with SGD the value tells the sum of means,
    and a trace of each mean is its version. Norms of 1 make no outliers."""
    rows, rounds, threads = 500, 40, 4
    with carls.connect() as bank:
        spec: dict[str, Any] = {
            "dim": 4,
            "optimizer": carls.SGD(lr=1.0),
            "initializer": carls.Zeros(),
            "aggregate": carls.Lazy(max_pending=5, max_delay_s=0.01),
        }
        handles = [bank.embeddings("t", **spec) for _ in range(threads + 2)]
        handles[0].lookup(np.arange(rows))
        stop = threading.Event()
        errors: list[BaseException] = []

        def push(handle: carls.EmbeddingTable, seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(rounds):
                handle.push_gradients(rng.permutation(rows), np.ones((rows, 4), np.float32))

        def look(handle: carls.EmbeddingTable, seen: Floats) -> None:
            while not stop.is_set():
                found = handle.lookup(np.arange(rows), create=False)
                assert (found.values == found.values[:, :1]).all()
                np.testing.assert_array_equal(found.values[:, 0], -found.version.astype(np.float32))
                assert (found.version >= seen).all()
                seen = found.version.copy()
                handle.statistics()

        def guarded(call: Any, *arguments: Any) -> None:
            try:
                call(*arguments)
            except BaseException as error:
                errors.append(error)

        pushing = [threading.Thread(target=guarded, args=(push, handles[i], i)) for i in range(threads)]
        looking = [
            threading.Thread(target=guarded, args=(look, handle, np.zeros(rows)))
            for handle in handles[threads:]
        ]
        for thread in pushing + looking:
            thread.start()
        for thread in pushing:
            thread.join(60)
        stop.set()
        for thread in looking:
            thread.join(60)
        assert not any(thread.is_alive() for thread in pushing + looking)
        assert errors == []
        # All are of size 1, so each mean is: as many steps as versions, and no more than contributions.
        told = handles[0].statistics()
        assert told.counters.written == rows * rounds * threads
        found = handles[0].lookup(np.arange(rows), create=False)
        np.testing.assert_array_equal(found.values[:, 0], -found.version.astype(np.float32))
        assert (found.version >= rounds * threads / 5).all()
        assert (found.version <= rounds * threads).all()
        assert handles[0].statistics().pending == 0


def test_the_total_is_exact_where_each_waits_alone() -> None:
    with carls.connect() as bank:
        spec: dict[str, Any] = {
            "dim": 4,
            "optimizer": carls.SGD(lr=1.0),
            "initializer": carls.Zeros(),
            "aggregate": carls.Lazy(max_pending=1),
        }
        handles = [bank.embeddings("t", **spec) for _ in range(4)]

        def push(handle: carls.EmbeddingTable) -> None:
            for _ in range(50):
                handle.push_gradients(np.arange(100), np.ones((100, 4), np.float32))

        workers = [threading.Thread(target=push, args=(handle,)) for handle in handles]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        rows = handles[0].lookup(np.arange(100), create=False)
        np.testing.assert_array_equal(rows.values, np.full((100, 4), -200.0, np.float32))
        assert (rows.version == 200).all()
