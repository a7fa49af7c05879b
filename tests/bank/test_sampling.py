"""When rankings are made anew, and rows that come and go between them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import carls
from carls import _core
from carls.bank import Engine
from carls.bank.embeddings import EmbeddingTable
from carls.bank.rankings import Rankings
from carls.bank.sampling import Wanted
from carls.errors import InvalidRequestError, RequestTooLargeError
from carls.keys import Keys
from carls.messages import AgeBound, OpenTable, Sample
from carls.specs import EmbeddingSpec, Frequency, LogUniform, Strategy, UniformSampling

UNIFORM, LOG_UNIFORM = UniformSampling(), LogUniform()


class Table:
    """An engine's table, with keys 0, 1, 2, ... that were looked up once."""

    def __init__(self, rows: int, **spec: Any) -> None:
        self.table = EmbeddingTable("t", EmbeddingSpec(dim=2, keys="int64", **spec))
        self.now = 1
        self.lookup(range(rows))

    @property
    def rows(self) -> _core.EmbeddingTable:
        rows = self.table._rows
        assert rows is not None
        return rows

    def lookup(self, keys: Any) -> None:
        self.table.lookup(Keys.of(list(keys)), True, AgeBound(), self.now, "me")

    def erase(self, keys: Any) -> None:
        self.table.erase(Keys.of(list(keys)), self.now)

    def sample(self, n: int, strategy: Strategy = UNIFORM, contexts: int = 1, **options: Any) -> Any:
        """Keys (contexts, n) and their expected counts."""
        given = {"unique": False, "seed": 0, "counter": 0, "positives": None, "exclude": None} | options
        wanted = Wanted(n=n, strategy=strategy, lengths=np.zeros(contexts, np.int64), **given)
        drawn = self.table.sample(wanted, True, self.now)
        assert drawn.found.all()
        return drawn.keys.integers.reshape(contexts, n), drawn.expected.reshape(contexts, n)


def test_a_ranking_holds_for_one_percent_of_changes() -> None:
    table = Table(5000)
    rankings = Rankings()

    def made_anew(strategy: Strategy) -> bool:
        before = rankings.current(table.rows, UNIFORM, 1)
        return rankings.current(table.rows, strategy, 1) is not before

    assert not made_anew(LOG_UNIFORM)
    table.lookup(range(50))
    assert not made_anew(LOG_UNIFORM)
    table.lookup([7])
    assert not made_anew(UNIFORM)  # to which look-ups do not matter
    assert made_anew(LOG_UNIFORM)
    table.erase(range(25))
    table.lookup(range(25))  # made again
    assert not made_anew(UNIFORM)
    table.erase([0])
    kept = rankings.current(table.rows, UNIFORM, 1)
    assert len(kept.population) == 4999


def test_a_small_table_is_ranked_anew_for_any_look_up() -> None:
    table = Table(1024)
    for turn in range(1, 4):
        table.lookup([1000])
        _, expected = table.sample(2000, LOG_UNIFORM, seed=turn)
        assert expected.max() == pytest.approx(2000 * np.log(2) / np.log(1025), rel=1e-6)
        keys, _ = table.sample(2000, Frequency(10.0), seed=turn)
        assert (keys == 1000).mean() > 0.4


def test_rows_that_are_restored_change_the_ranking() -> None:
    table = Table(3)
    table.sample(1)
    meta = np.zeros(1, carls.messages.ROW_META)
    meta["count"] = 1000
    table.table.restore(Keys.of([2]), np.ones((1, 2), np.float32), meta, 1)
    keys, _ = table.sample(1, Frequency(10.0))
    assert keys.tolist() == [[2]]


@pytest.mark.parametrize("unique", [False, True])
def test_rows_that_went_since_are_drawn_anew(unique: bool) -> None:
    table = Table(5000)
    table.sample(1)
    gone = np.arange(0, 50)  # a share that keeps the ranking
    table.erase(gone)
    keys, expected = table.sample(100, contexts=200, unique=unique)
    assert not np.isin(keys, gone).any()
    np.testing.assert_allclose(expected, 100 / 4975, rtol=0.011)
    left = 5000 - 50
    with pytest.raises(InvalidRequestError, match=f"has {left} rows"):
        table.sample(left + 1, unique=True)
    keys, expected = table.sample(left, unique=True)
    assert sorted(keys[0].tolist()) == list(range(50, 5000))
    assert (expected == 1).all()


def test_new_rows_are_found_where_they_are_needed() -> None:
    table = Table(5000)
    table.sample(1)
    table.lookup(range(5000, 5020))
    keys, _ = table.sample(5020, unique=True)
    assert sorted(keys[0].tolist()) == list(range(5020))


@pytest.mark.parametrize("rows", [100, 5000])
def test_expired_rows_are_not_drawn(rows: int) -> None:
    table = Table(rows, eviction=carls.TTL(1.0))
    table.now = 5001
    table.lookup(range(rows, rows + 20))
    table.sample(1)
    table.now = 10_001  # the first ones have expired, by nobody's call
    keys, expected = table.sample(10, contexts=50)
    assert set(keys.ravel().tolist()) == set(range(rows, rows + 20))
    np.testing.assert_allclose(expected, 10 / 20, rtol=1e-6)
    with pytest.raises(InvalidRequestError, match="has 20 rows"):
        table.sample(21, unique=True)
    table.now = 12_000
    table.lookup(range(rows + 20, rows + 30))
    table.now = 15_001  # of 30, all but the last 10 have expired; nobody has met one
    if rows <= 1024:
        assert table.sample(1)[1].item() == pytest.approx(0.1)
    assert set(table.sample(99)[0].ravel().tolist()) <= set(range(rows + 20, rows + 30))
    table.now = 22_001
    with pytest.raises(InvalidRequestError, match="has 0 rows"):
        table.sample(1)


def test_evicted_rows_are_not_drawn() -> None:
    table = Table(3000, max_rows=3000)
    table.sample(1)
    for start in range(3000, 6000, 25):
        table.lookup(range(start, start + 25))
        keys, _ = table.sample(50)
        present = table.table.lookup(Keys.of(keys[0]), False, AgeBound(), 1)[1]["found"]
        assert present.all()


@pytest.mark.parametrize("unique", [False, True])
def test_draws_while_others_write(unique: bool) -> None:
    table = Table(3000)
    stop = threading.Event()
    failures: list[BaseException] = []

    def churn(part: int) -> None:
        try:
            turn = 0
            while not stop.is_set():
                keys = range(10_000 * (part + 1), 10_000 * (part + 1) + 200)
                table.lookup(keys)
                table.lookup(range(turn % 2000, turn % 2000 + 500))
                table.erase(keys)
                turn += 100
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(100):
            for strategy in (UNIFORM, LOG_UNIFORM, Frequency(0.75)):
                keys, expected = table.sample(64, strategy, 4, unique=unique, seed=turn)
                assert (keys >= 0).all()
                assert ((expected > 0) & (expected <= 64)).all()
                if unique:
                    assert all(len(set(row)) == 64 for row in keys.tolist())
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not failures
    assert set(table.sample(3000, unique=True)[0].ravel().tolist()) == set(range(3000))


def test_what_samples_keep_counts_in_the_tables_bytes() -> None:
    table = Table(5000)
    before = table.table.nbytes
    table.sample(1)
    assert before + 5000 * 40 < table.table.nbytes < before + 5000 * 80


def test_raw_requests_that_cannot_be() -> None:
    engine = Engine()
    engine.handle(OpenTable("t", EmbeddingSpec(dim=2).to_json()))
    keys = Keys.of([1, 2, 3])
    good = Sample("t", 2, {"name": "uniform"}, keys, (1, 1), False, 0, 0)
    for bad, expected in (
        (good._replace(n=0), "n=0"),
        (good._replace(n=-5), "n=-5"),
        (good._replace(positives=()), "positives"),
        (good._replace(positives=(-1, 1)), "positives"),
        (good._replace(positives=(2, 2)), "positives"),
        (good._replace(positives=(3,)), "3 positives"),
        (good._replace(seed=-1), "seed=-1"),
        (good._replace(counter=-1), "counter=-1"),
        (good._replace(strategy={}), "strategy"),
        (good._replace(strategy={"name": "frequency", "beta": 1}), "beta"),
        (good._replace(dtype="float64"), "dtype"),
    ):
        with pytest.raises(InvalidRequestError, match=expected):
            engine.handle(bad)
    with pytest.raises(RequestTooLargeError, match="expected at most 1073741824"):
        engine.handle(good._replace(n=1 << 40))
    with pytest.raises(InvalidRequestError, match="0 rows"):
        engine.handle(good._replace(positives=(1, 0)))
