"""A reader of the core counts every row of its look-ups, in the bucket of its age."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls import _core

ANY_STEP = -(2**63)
STEPS = st.sampled_from([-1, 0, 1, 2, 3, 4, 7, 8, 2**31, 2**53 - 1, 2**53, 2**62, 2**63 - 1]) | st.integers(
    0, 99
)
#: Ticks of 0.1 ms: about whole powers of two of milliseconds, and any.
TICKS = st.sampled_from([0, 1, 9, 10, 11, 19, 20, 39, 40, 79, 80, 10 * 2**20, 10 * 2**20 - 1]) | st.integers(
    0, 2**35
)
WRITES = st.lists(st.tuples(st.integers(0, 9), STEPS, TICKS), max_size=12)
LOOKUPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 14), min_size=1, max_size=20),
        st.booleans(),
        st.none() | STEPS | st.sampled_from([-1, -5, ANY_STEP]),
        st.sampled_from([ANY_STEP, 0, 5, 2**53]),
        st.sampled_from([np.inf, 0.0, 0.0039, 500.0]),
    ),
    min_size=1,
    max_size=6,
)
NOW = 2**36


class Oracle:
    """What a reader must have counted, row by row in Python's integers."""

    def __init__(self) -> None:
        self.steps, self.milliseconds = [0] * 64, [0] * 64
        self.counts = dict.fromkeys(
            ("lookups", "looked_up", "created", "missed", "stale", "ahead", "unsaid"), 0
        )

    def lookup(
        self,
        rows: dict[int, tuple[int, int]],
        keys: list[int],
        create: bool,
        at: Any,
        least: int,
        most: float,
    ) -> None:
        self.counts["lookups"] += 1
        self.counts["looked_up"] += len(keys)
        there = dict(rows)
        for key in keys:
            if key not in there:
                self.counts["created" if create else "missed"] += 1
                if create:
                    rows[key] = (-1, NOW)
                continue
            step, written = there[key]
            ticks = NOW - written
            self.counts["stale"] += not (step >= least and ticks * 1e-4 <= most)
            self.milliseconds[(ticks // 10).bit_length()] += 1
            if at is None:
                continue
            if step < 0:
                self.counts["unsaid"] += 1
            elif step > at:
                self.counts["ahead"] += 1
            else:
                self.steps[(at - step).bit_length()] += 1

    def told(self) -> dict[str, Any]:
        return {**self.counts, "steps": self.steps, "milliseconds": self.milliseconds}


def embeddings() -> _core.EmbeddingTable:
    return _core.EmbeddingTable(True, 1, 0, "constant", 0.0, 0.0, "none", {"lr": 0.0, "weight_decay": 0.0})


@given(WRITES, LOOKUPS)
@settings(deadline=None, max_examples=200)
def test_embeddings_against_counting_by_hand(writes: list[Any], lookups: list[Any]) -> None:
    table, reader, oracle = embeddings(), _core.Reader(), Oracle()
    rows: dict[int, tuple[int, int]] = {}
    for key, step, ticks in writes:
        table.assign(np.array([key]), None, None, np.ones((1, 1), np.float32), step, 1, NOW - ticks)
        rows[key] = (step, NOW - ticks)
    for keys, create, at_step, least, most in lookups:
        values, meta = np.empty((len(keys), 1), np.float32), np.empty(32 * len(keys), np.uint8)
        numbers = np.array(keys)
        table.lookup(numbers, None, None, create, least, most, NOW, values, meta, reader, at_step)
        oracle.lookup(rows, keys, create, at_step, least, most)
        table.lookup(numbers, None, None, False, least, most, NOW, values, meta)  # nobody's: not counted
    assert reader.counts() == oracle.told()


@given(WRITES, LOOKUPS)
@settings(deadline=None, max_examples=50)
def test_features_against_counting_by_hand(writes: list[Any], lookups: list[Any]) -> None:
    table, reader, oracle = _core.FeatureTable(True, [("fixed", 1)]), _core.Reader(), Oracle()
    rows: dict[int, tuple[int, int]] = {}
    for key, step, ticks in writes:
        column = [(np.ones(1, np.uint8), None, None)]
        table.assign(np.array([key]), None, None, column, step, 1, NOW - ticks)
        rows[key] = (step, NOW - ticks)
    for keys, _, at_step, least, most in lookups:
        meta = np.empty(32 * len(keys), np.uint8)
        table.lookup(np.array(keys), None, None, least, most, NOW, meta, reader, at_step)
        oracle.lookup(rows, keys, False, at_step, least, most)
    assert reader.counts() == oracle.told()


@pytest.mark.parametrize("n", [1, 3, 251, 252, 253, 1024, 70_000])
def test_batches_of_any_size(n: int) -> None:
    table, reader = embeddings(), _core.Reader()
    keys = np.arange(n)
    table.assign(keys[::2], None, None, np.ones((len(keys[::2]), 1), np.float32), 3, 1, NOW)
    values, meta = np.empty((n, 1), np.float32), np.empty(32 * n, np.uint8)
    table.lookup(keys, None, None, True, 4, np.inf, NOW, values, meta, reader, 8)
    counts = reader.counts()
    there = len(keys[::2])
    assert (counts["looked_up"], counts["created"], counts["stale"]) == (n, n - there, there)
    assert counts["steps"][3] == sum(counts["steps"]) == counts["milliseconds"][0] == there
    assert counts["unsaid"] == counts["ahead"] == counts["missed"] == 0


def test_no_count_is_lost_among_threads() -> None:
    table, reader = embeddings(), _core.Reader()
    keys = np.arange(700)
    table.assign(keys[:500], None, None, np.ones((500, 1), np.float32), 5, 1, NOW)
    threads, rounds = 4, 200

    def look(at_step: int) -> None:
        values, meta = np.empty((700, 1), np.float32), np.empty(32 * 700, np.uint8)
        for _ in range(rounds):
            table.lookup(keys, None, None, False, ANY_STEP, np.inf, NOW, values, meta, reader, at_step)

    running = [threading.Thread(target=look, args=(4 + number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    counts = reader.counts()
    assert counts["lookups"] == threads * rounds
    assert counts["missed"] == threads * rounds * 200
    assert counts["milliseconds"][0] == threads * rounds * 500
    assert counts["ahead"] == rounds * 500  # at step 4
    assert counts["steps"][:3] == [rounds * 500, rounds * 500, rounds * 500]  # at steps 5, 6 and 7
