"""Tables with limits, expiry and admission."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank
from carls.testing.oracle import initial_value


class Growth:
    """Tables with limits, expiry and admission."""

    def test_rows_stay_within_their_limit(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, max_rows=10, initializer=carls.Uniform())
        assert table.lookup(list(range(10))).created.all()
        assert table.lookup(list(range(5))).fresh.all()
        assert table.lookup([10, 11, 12]).created.all()
        assert len(table) == 10
        assert table.lookup(list(range(5)), create=False).found.all()  # used last
        rows = table.lookup(list(range(100, 120)))
        assert rows.found.sum() == rows.created.sum() == len(table) == 10
        expected = [initial_value(table.spec, key) for key in range(100, 120)]
        np.testing.assert_array_equal(rows.values, expected)
        counters = table.statistics().counters
        assert (counters.evicted, counters.unadmitted, counters.missed) == (13, 10, 10)

    def test_bytes_stay_within_their_limit(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=16, max_bytes=1 << 18, eviction="fifo")
        for start in range(0, 5000, 500):
            assert table.lookup([f"key {i}" for i in range(start, start + 500)]).found.all()
            assert table.describe().nbytes <= 1 << 18
        assert table.statistics().counters.evicted == 5000 - len(table)

    def test_an_evicted_row_starts_anew(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, max_rows=1, optimizer=carls.Adagrad(lr=1.0), initializer="zeros")
        for key in ("a", "b", "a"):
            table.push_gradients([key], [[2.0]])
            rows = table.lookup([key])
            np.testing.assert_allclose(rows.values, [[-1.0]], rtol=1e-6)
            assert rows.version.tolist() == [1]

    def test_writes_that_find_no_room_are_counted(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, max_rows=4, optimizer="sgd")
        table.assign(list(range(6)), np.ones((6, 1), np.float32))
        table.push_gradients(list(range(10, 15)), np.ones((5, 1), np.float32))
        counters = table.statistics().counters
        assert (counters.writes, counters.written, counters.dropped, counters.evicted) == (2, 8, 3, 4)

    def test_keys_are_admitted_when_they_come_again(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer="sgd", admission=carls.Admission(after=2))
        first = table.lookup(["a", "b"])
        assert not (first.found | first.created | first.fresh).any()
        assert (first.values != 0).all()
        table.push_gradients(["a"], [[1.0, 1.0]])
        second = table.lookup(["a"])
        assert second.created.all()
        np.testing.assert_array_equal(second.values, first.values[:1])
        table.assign(["b"], [[1.0, 1.0]])  # what is written is wanted
        assert table.lookup(["b"], create=False).found.all()
        counters = table.statistics().counters
        assert (counters.unadmitted, counters.missed, counters.dropped) == (2, 2, 1)

    def test_rows_that_have_not_expired_are_there(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, eviction=carls.TTL(1000))
        table.assign([1], [[1.0]])
        assert table.lookup([1], max_age_s=1000).fresh.all()
        assert table.statistics().counters.expired == 0

    def test_limits_belong_to_the_spec(self, bank: Bank) -> None:
        spec: dict[str, Any] = {
            "dim": 1,
            "max_rows": 10,
            "eviction": "lfu",
            "admission": {"name": "admission", "after": 3},
        }
        bank.embeddings("t", **spec)
        described = bank.describe("t").spec
        assert (described["max_rows"], described["eviction"]) == (10, {"name": "lfu"})
        assert bank.embeddings("t", **spec).spec.admission == carls.Admission(3)
        with pytest.raises(carls.SpecMismatchError, match="max_rows"):
            bank.embeddings("t", **(spec | {"max_rows": 11}))
