"""Many threads at one small table that grows and shrinks: every row that anybody sees is whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import carls
from carls import Keys

DIM, BATCH = 8, 300


def as_strings(ids: Any) -> Keys:
    return Keys.of([f"key/{i}" * (1 + i % 3) for i in ids.tolist()])


@pytest.mark.parametrize(
    "rounds", [60, pytest.param(1500, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("to_keys", [lambda ids: ids, as_strings], ids=["int64", "string"])
def test_rows_stay_whole_in_a_crowd(to_keys: Any, rounds: int) -> None:
    """Writers of one kind own keys of their own, and know in the end what the rows have to be."""
    seeds = iter(range(100))
    universe = 20_000

    with carls.connect() as bank:

        def table() -> carls.EmbeddingTable:
            return bank.embeddings("t", dim=DIM, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())

        def push(first: int) -> Any:
            """Ones are pushed to keys of a writer's own: minus a row's version is its value."""
            mine, rng, times = table(), np.random.default_rng(next(seeds)), np.zeros(universe, np.int64)
            for _ in range(rounds):
                ids = rng.integers(0, universe, BATCH)
                np.add.at(times, np.unique(ids), 1)
                counts = np.bincount(ids, minlength=universe)[ids]
                grads = np.repeat(1 / counts[:, None], DIM, 1).astype(np.float32)  # sum to 1 for each key
                mine.push_gradients(to_keys(first + ids), grads)
            return times

        def assign(first: int) -> Any:
            mine, rng, last = table(), np.random.default_rng(next(seeds)), np.full(universe, -1.0, np.float32)
            for step in range(rounds):
                ids = rng.choice(universe, BATCH, replace=False)
                mine.assign(to_keys(first + ids), np.full((BATCH, DIM), step, np.float32), step=step)
                last[ids] = step
                gone = rng.choice(universe, BATCH // 2, replace=False)
                found = mine.erase(to_keys(first + gone))
                np.testing.assert_array_equal(found, last[gone] >= 0)
                last[gone] = -1.0
            return last

        def create(first: int) -> None:
            mine = table()
            for i in range(rounds):
                rows = mine.lookup(to_keys(first + np.arange(i * BATCH, (i + 1) * BATCH)))
                assert rows.created.all()
                assert (rows.values == 0).all()

        def see(stop: threading.Event) -> None:
            mine, rng = table(), np.random.default_rng(next(seeds))
            while not stop.is_set():
                rows = mine.lookup(to_keys(rng.integers(0, 4 * universe, BATCH)), create=False)
                whole(rows)
                assert (rows.found | (rows.values[:, 0] == 0)).all()

        def scan(stop: threading.Event) -> None:
            mine = table()
            while not stop.is_set():
                for _, rows in mine.scan(batch=500):
                    whole(rows)

        def whole(rows: carls.Rows) -> None:
            np.testing.assert_allclose(rows.values, np.repeat(rows.values[:, :1], DIM, 1), atol=1e-3)
            pushed = rows.values[:, 0] < 0
            np.testing.assert_allclose(-rows.values[pushed, 0], rows.version[pushed], atol=1e-2)
            assigned = rows.values[:, 0] > 0
            np.testing.assert_array_equal(rows.values[assigned, 0], rows.step[assigned])

        stop = threading.Event()
        with ThreadPoolExecutor(8) as threads:
            readers = [threads.submit(see, stop), threads.submit(see, stop), threads.submit(scan, stop)]
            firsts = [0, universe]
            pushes = [threads.submit(push, first) for first in firsts]
            assigns = [threads.submit(assign, 2 * universe)]
            creates = [threads.submit(create, 10 * universe)]
            try:
                times = [future.result(800) for future in pushes]
                last = assigns[0].result(800)
                creates[0].result(800)
            finally:
                stop.set()
            for reader in readers:
                reader.result(100)

        ids = np.arange(universe)
        for first, pushed in zip(firsts, times, strict=True):
            rows = table().lookup(to_keys(first + ids), create=False)
            np.testing.assert_array_equal(rows.found, pushed > 0)
            np.testing.assert_array_equal(rows.version, pushed)
            np.testing.assert_allclose(rows.values, np.repeat(-pushed[:, None], DIM, 1), atol=1e-2)
        rows = table().lookup(to_keys(2 * universe + ids), create=False)
        np.testing.assert_array_equal(rows.found, last >= 0)
        np.testing.assert_array_equal(rows.values[:, 0], np.maximum(last, 0))
        created = rounds * BATCH
        assert len(table()) == created + sum(int((t > 0).sum()) for t in times) + int((last >= 0).sum())
        scanned = np.concatenate([rows.version for _, rows in table().scan()])
        assert len(scanned) == len(table())
