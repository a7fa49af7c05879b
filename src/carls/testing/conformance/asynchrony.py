"""Background writes, futures, prefetching, closing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class Asynchrony:
    """Background writes, futures, prefetching, closing."""

    def test_a_handle_reads_its_own_writes(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=4, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())
        ones = np.ones((1, 4), np.float32)
        for i in range(1, 60):
            table.push_gradients_async([1], ones, step=i)
            assert table.lookup([1]).values[0, 0] == -i
            assert table.lookup_async([1]).result(10).values[0, 0] == -i

    def test_background_errors_reach_the_owner(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD())
        future = table.push_gradients_async([1], np.full((1, 2), np.nan, np.float32))
        assert isinstance(future.exception(10), carls.InvalidValueError)
        with pytest.raises(carls.InvalidValueError, match="nan"):
            table.flush()
        table.push_gradients([1], [[1.0, 1.0]])
        table.flush()

    def test_futures_work_with_asyncio(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)

        async def use() -> Any:
            await asyncio.wrap_future(table.assign_async([1], [[1.0, 2.0]]))
            return await asyncio.wrap_future(table.lookup_async([1]))

        assert asyncio.run(use()).values.tolist() == [[1.0, 2.0]]

    def test_prefetched_rows_are_taken_once(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.prefetch(["a", "b"])
        assert table.lookup(["a", "b"]).created.all()
        assert table.lookup(["a", "b"]).count.tolist() == [2, 2]

    def test_closed_handles_say_so(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.SGD())
        table.push_gradients_async([1], [[1.0]])
        table.close()
        table.close()
        uses: list[Callable[[], Any]] = [
            lambda: table.lookup([1]),
            lambda: table.push_gradients([1], [[1.0]]),
            lambda: table.flush(),
        ]
        for use in uses:
            with pytest.raises(carls.ClosedError):
                use()
        assert bank.embeddings("t", dim=1, optimizer=carls.SGD()).lookup([1]).version.tolist() == [1]

    def test_large_batches(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=256)
        n = 40_000  # 40 MB: over the limit of one request
        values = np.arange(n, dtype=np.float32)[:, None] + np.zeros(256, np.float32)
        table.assign(np.arange(n), values)
        np.testing.assert_array_equal(table.lookup(np.arange(n)).values, values)
        values[-1, -1] = np.nan
        with pytest.raises(carls.InvalidValueError, match=f"row {n - 1}"):
            table.assign(np.arange(n), values)
        assert table.lookup([0]).version.tolist() == [1]
        assert table.erase(np.arange(n)).all()
