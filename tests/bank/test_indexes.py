"""Searches through an index: what they find, while rows change and the index is built."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import carls
from carls.bank import indexes
from carls.bank.clock import Clock
from carls.bank.embeddings import EmbeddingTable
from carls.specs import IVF, EmbeddingSpec
from carls.statistics import IndexStatistics

DIM = 16


@pytest.fixture(autouse=True)
def _small_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LEAST_ROWS", 100)


@pytest.fixture(autouse=True)
def _however_many_rows_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_WORTH_CHANGED", 2)


@pytest.fixture
def bank() -> Iterator[carls.Bank]:
    with carls.connect() as bank:
        yield bank


def _clusters(rows: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((20, DIM))
    return (centres[rng.integers(0, 20, rows)] + 0.1 * rng.standard_normal((rows, DIM))).astype(np.float32)


def _wait(table: carls.EmbeddingTable, holds: Callable[[IndexStatistics], bool]) -> IndexStatistics:
    """The statistics of the index once `holds` is true of them."""
    due = time.monotonic() + 60
    pause = threading.Event()
    while True:
        index = table.statistics().index
        assert index is not None
        assert index.failure == ""
        if holds(index):
            return index
        assert time.monotonic() < due, index
        pause.wait(0.01)


def _settled(index: IndexStatistics) -> bool:
    return index.builds > 0 and index.changed == 0


@pytest.mark.parametrize("metric", ["dot", "cosine", "squared_l2"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_few_lists_hold_nearly_all_neighbours(bank: carls.Bank, metric: str, dtype: str) -> None:
    table = bank.embeddings("t", dim=DIM, dtype=dtype)
    table.assign(np.arange(3000), _clusters(3000))
    table.set_index(carls.IVF(metric=metric, probes=8))
    index = _wait(table, _settled)
    assert (index.rows, index.builds, index.lists) == (3000, 1, int(np.sqrt(3000)))
    assert index.age is not None
    assert 0 <= index.age < 60
    queries = _clusters(50, seed=2)
    exact = table.nearest(queries, k=10, metric=metric, index="exact")
    found = table.nearest(queries, k=10, metric=metric)
    hits = [len(set(mine) & set(true)) for (mine, _), (true, _) in zip(found, exact, strict=True)]
    assert np.mean(hits) >= 9
    # Scores are of the rows themselves, whatever the lists say.
    rows = table.lookup(found.keys, create=False).values.astype(np.float64).reshape(50, 10, DIM)
    dots = np.einsum("qkd,qd->qk", rows, queries)
    if metric == "dot":
        np.testing.assert_allclose(found.scores, dots, rtol=1e-4, atol=1e-4)
    assert (np.diff(found.scores, axis=1) >= 0).all() == (metric == "squared_l2")


def test_all_lists_together_find_what_every_row_gives(bank: carls.Bank) -> None:
    """Filters and exclusions too; keys of strings."""
    table, features = bank.embeddings("t", dim=DIM), bank.features("f", {"even": "bool"})
    keys = [f"k{i}" for i in range(1000)]
    table.assign(keys, _clusters(1000))
    features.assign(keys, {"even": [i % 2 == 0 for i in range(1000)]})
    table.set_index(carls.IVF(probes=65536))
    _wait(table, _settled)
    table.erase(keys[:100])
    table.assign(keys[900:], _clusters(100, seed=5))
    said: dict[str, Any] = {
        "k": 20,
        "exclude": [[keys[200 + i], keys[950 + i]] for i in range(30)],
        "where": carls.Where("f", "even", equals=True),
    }
    queries = _clusters(30, seed=3)
    for _ in range(2):
        exact, found = table.nearest(queries, index="exact", **said), table.nearest(queries, **said)
        assert found.keys == exact.keys
        np.testing.assert_array_equal(found.scores, exact.scores)
        _wait(table, _settled)


def test_a_search_that_finds_too_few_looks_at_every_row(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=DIM)
    table.assign(np.arange(1000), _clusters(1000))
    table.set_index(carls.IVF(probes=1))
    _wait(table, _settled)
    assert table.nearest(_clusters(3), k=900).counts.tolist() == [900] * 3
    assert table.nearest(_clusters(3), k=2000).counts.tolist() == [1000] * 3


def test_rows_that_went_do_not_come_and_leave_their_lists(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=DIM)
    values = _clusters(1000)
    table.assign(np.arange(1000), values)
    table.set_index(carls.IVF())
    _wait(table, _settled)
    table.erase(np.arange(500))
    assert table.nearest(values[:500], k=1).keys.integers.min() >= 500
    assert _wait(table, lambda index: index.rows == 500).changed == 0


def test_evicted_rows_do_not_come(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=DIM, max_rows=500, eviction="fifo")
    values = _clusters(2000)
    table.assign(np.arange(500), values[:500])
    table.set_index(carls.IVF())
    _wait(table, _settled)
    for start in range(500, 2000, 100):
        keys = np.arange(start, start + 100)
        table.assign(keys, values[keys])
        there = table.lookup(np.arange(2000), create=False).found
        found = table.nearest(values[:start], k=3)
        assert there[found.keys.integers].all()


@pytest.mark.parametrize("write", ["assign", "push", "create", "erase and create"])
def test_a_row_just_written_is_found_while_the_index_follows(bank: carls.Bank, write: str) -> None:
    """Written, and asked for at once, by two threads; the index is built and refreshed meanwhile."""
    table = bank.embeddings("t", dim=DIM, optimizer=carls.SGD(lr=1.0), initializer=carls.Uniform(-9, 9))
    table.assign(np.arange(3000), _clusters(3000))
    table.set_index(carls.IVF(metric="squared_l2", probes=1))
    missed: list[Any] = []

    def work(first: int) -> None:
        rng = np.random.default_rng(first)
        for turn in range(400):
            key = np.array([first + turn % 500])
            value = rng.uniform(-9, 9, (1, DIM)).astype(np.float32)
            if write == "assign":
                table.assign(key, value)
            elif write == "push":
                table.push_gradients(key, value)
                value = table.lookup(key).values
            elif write == "create":
                value = table.lookup(key + 10_000 + turn * 1000).values
            else:
                table.erase(key)
                table.assign(key, value)
            found = table.nearest(value, k=1, metric="squared_l2")
            if found.scores[0, 0] != 0:
                missed.append((turn, key, found.keys.tolist(), found.scores.tolist()))

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []
    assert _wait(table, _settled).builds >= 1


def test_an_index_is_built_anew_when_its_table_has_grown(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=DIM)
    table.assign(np.arange(200), _clusters(200))
    table.set_index(carls.IVF())
    assert _wait(table, _settled).lists == 14
    table.assign(np.arange(200, 3000), _clusters(2800))
    index = _wait(table, lambda index: index.builds == 2 and index.changed == 0)
    assert (index.rows, index.lists) == (3000, 54)


def test_indexes_end_with_their_table_and_their_bank() -> None:
    bank = carls.connect()
    tables = [bank.embeddings(name, dim=DIM) for name in ("a", "b")]
    for table in tables:
        table.assign(np.arange(1000), _clusters(1000))
        table.set_index(carls.IVF())
        _wait(table, _settled)
    bank.drop("a")
    tables[1].set_index(carls.IVF(metric="cosine"))
    _wait(tables[1], _settled)
    bank.close()
    assert "carls indexer" not in [thread.name for thread in threading.enumerate()]


def test_lazy_tables_are_searched_after_their_gradients(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=1, optimizer=carls.SGD(lr=1.0), aggregate="lazy", initializer="zeros")
    table.push_gradients(["a"], [[-3.0]])
    assert table.nearest([[1.0]], k=1).scores.tolist() == [[3.0]]


def test_an_index_follows_gradients_that_wait(bank: carls.Bank) -> None:
    """Rows that gradients have moved to another list are found there, whoever applied them."""
    table = bank.embeddings("t", dim=DIM, optimizer=carls.SGD(lr=1.0), aggregate="lazy")
    values = _clusters(2000)
    table.assign(np.arange(2000), values)
    table.set_index(carls.IVF(metric="squared_l2", probes=2))
    _wait(table, _settled)
    targets = values[1000:1100] + np.float32(0.05)
    for turn in range(3):
        moved = np.arange(100) + 100 * turn
        now = table.lookup(moved, create=False).values
        table.push_gradients(moved, now - targets)
        if turn > 0:  # the index gets its turn while they wait, and leaves them waiting
            began = time.monotonic()
            _wait(
                table,
                lambda index, began=began: index.age is not None and index.age < time.monotonic() - began,
            )
            assert table.statistics().pending == 100
        for _ in range(2):
            found = table.nearest(targets, k=turn + 1, metric="squared_l2")
            assert (np.sort(found.keys.integers.reshape(100, -1), axis=1)[:, turn] == moved).all()
            _wait(table, _settled)


def test_a_table_that_was_dropped_meanwhile_gets_no_index() -> None:
    table, indexer = EmbeddingTable("t", EmbeddingSpec(dim=2, keys="int64")), indexes.Indexer(Clock())
    table.close()
    indexer.set(table, IVF())
    assert table.index is not None
    assert table.index.stopped
    indexer.close()
