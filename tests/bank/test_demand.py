"""Demand: how often keys stand among those that were looked up last."""

from __future__ import annotations

import tracemalloc
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls.bank import demand
from carls.bank.demand import Demand
from carls.keys import Keys


def told(kept: Demand, keys: Keys) -> list[int]:
    return [int(count) for count in kept.of(keys)]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=45), max_size=40), st.booleans())
def test_the_keys_looked_up_last_count(batches: list[list[int]], texts: bool) -> None:
    def keys(numbers: list[int]) -> Keys:
        return Keys.of([str(number) for number in numbers] if texts else numbers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demand, "WINDOW_KEYS", 20)
        kept, window = Demand(), deque[int](maxlen=20)
        assert told(kept, keys([3, 4])) == [0, 0]
        for batch in batches:
            kept.note(keys(batch))
            window.extend(batch)
            asked = [0, 5, 5, 9, 77]
            assert told(kept, keys(asked)) == [window.count(number) for number in asked]


def test_nothing_is_kept_before_somebody_asks() -> None:
    kept = Demand()
    kept.note(Keys.of([1]))
    assert kept.nbytes == 0
    assert told(kept, Keys.of([1])) == [0]
    kept.note(Keys.of([1]))
    assert told(kept, Keys.of([1, 2])) == [1, 0]


def test_neither_small_look_ups_nor_long_keys_take_more_room() -> None:
    kept = Demand()
    kept.of(Keys.of([1]))
    tracemalloc.start()
    try:
        for number in range(20_000):
            kept.note(Keys.of([number]))
        kept.note(Keys.of(["x" * 50_000] * 100))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    assert kept.nbytes == 8 * demand.WINDOW_KEYS
    assert told(kept, Keys.of(["x" * 50_000, "y"])) == [100, 0]


def test_no_request_of_any_thread_is_lost() -> None:
    kept, batch = Demand(), Keys.of(np.arange(10))
    kept.of(batch)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(lambda: [kept.note(batch) for _ in range(500)]) for _ in range(4)]:
            done.result(30)
    assert told(kept, batch) == [2000] * 10
