"""Threads at one table: no half rows, no lost updates, no waiting in a circle."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

import carls

ROWS, DIM, ROUNDS = 500, 64, 150


def run(*workers: Callable[[], None]) -> None:
    """Run all workers at once; raise what one of them raised."""
    errors: list[BaseException] = []

    def guarded(worker: Callable[[], None]) -> None:
        try:
            worker()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_a_reader_never_sees_half_a_row() -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=DIM)
        keys = np.arange(ROWS)
        table.assign(keys, np.zeros((ROWS, DIM), np.float32), step=0)

        def write(handle: carls.EmbeddingTable) -> None:
            for step in range(ROUNDS):
                handle.assign(keys, np.full((ROWS, DIM), step, np.float32), step=step)

        def read(handle: carls.EmbeddingTable) -> None:
            for _ in range(ROUNDS):
                rows = handle.lookup(keys)
                assert (rows.values == rows.values[:, :1]).all()
                np.testing.assert_array_equal(rows.values[:, 0], rows.step)

        handles = [bank.embeddings("t", dim=DIM) for _ in range(4)]
        run(*(lambda h=h: write(h) for h in handles[:2]), *(lambda h=h: read(h) for h in handles[2:]))


def test_no_update_and_no_count_is_lost() -> None:
    with carls.connect() as bank:
        spec = {"dim": DIM, "optimizer": carls.SGD(lr=1.0), "initializer": carls.Zeros()}
        handles = [bank.embeddings("t", **spec) for _ in range(4)]
        ones = np.ones((ROWS, DIM), np.float32)

        def push(handle: carls.EmbeddingTable, seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(ROUNDS):
                keys = rng.permutation(ROWS)
                handle.lookup(keys)
                handle.push_gradients(keys, ones)

        run(*(lambda h=h, s=s: push(h, s) for s, h in enumerate(handles)))
        rows = handles[0].lookup(np.arange(ROWS), create=False)
        np.testing.assert_array_equal(rows.values, -4.0 * ROUNDS * ones)
        assert (rows.version == 4 * ROUNDS).all()
        assert (rows.count == 4 * ROUNDS).all()


def test_the_learning_rate_may_change_while_others_push() -> None:
    with carls.connect() as bank:
        spec = {"dim": DIM, "optimizer": carls.SGD(lr=1.0), "initializer": carls.Zeros()}
        handles = [bank.embeddings("t", **spec) for _ in range(4)]
        ones, keys = np.ones((ROWS, DIM), np.float32), np.arange(ROWS)
        handles[0].push_gradients(keys, ones)

        def push(handle: carls.EmbeddingTable) -> None:
            for _ in range(ROUNDS):
                handle.push_gradients(keys, ones)

        def change(handle: carls.EmbeddingTable) -> None:
            for i in range(ROUNDS):
                handle.set_learning_rate([4.0, 1.0][i % 2])

        run(*(lambda h=h: push(h) for h in handles[:3]), lambda: change(handles[3]))
        rows = handles[0].lookup(keys, create=False)
        # Each row took each of its steps at the one rate or the other, all its elements at the same.
        assert (rows.version == 3 * ROUNDS + 1).all()
        assert (rows.values == rows.values[:, :1]).all()
        steps = -rows.values[:, 0]
        np.testing.assert_array_equal((steps - rows.version) % 3, 0)
        assert ((steps >= rows.version) & (steps <= 4 * rows.version)).all()


def test_growth_erasure_and_scans_side_by_side() -> None:
    with carls.connect() as bank:
        handles = [bank.embeddings("t", dim=4) for _ in range(4)]
        stable = np.arange(-1000, 0)
        handles[0].assign(stable, np.ones((1000, 4), np.float32), step=1)

        def churn(handle: carls.EmbeddingTable, offset: int) -> None:
            for i in range(40):
                keys = np.arange(1000) + offset + i * 500
                handle.lookup(keys)
                handle.erase(keys[::2])

        def scan(handle: carls.EmbeddingTable) -> None:
            for _ in range(15):
                seen = np.concatenate([np.asarray(keys.integers) for keys, _ in handle.scan(batch=700)])
                # Rows that are erased and made anew meanwhile may come twice; those that stay may not.
                np.testing.assert_array_equal(np.sort(seen[np.isin(seen, stable)]), stable)

        run(
            lambda: churn(handles[0], 0),
            lambda: churn(handles[1], 10**6),
            lambda: scan(handles[2]),
            lambda: scan(handles[3]),
        )
