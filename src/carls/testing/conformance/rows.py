"""Look-ups, writes and what is told about rows."""

from __future__ import annotations

from typing import Any

import numpy as np

import carls
from carls.client import Bank
from carls.testing.oracle import initial_value


class Rows:
    """Look-ups, writes and what is told about rows."""

    def test_initial_values_follow_from_seed_and_key(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=5, seed=3, initializer=carls.Uniform(-1, 1))
        keys = ["a", "b", "", "ä"]
        expected = np.stack([initial_value(table.spec, key) for key in keys])
        np.testing.assert_array_equal(table.lookup(keys).values, expected)
        np.testing.assert_array_equal(table.lookup(keys[::-1]).values, expected[::-1])

    def test_created_found_fresh(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        first = table.lookup([1, 2])
        assert first.found.all()
        assert first.created.all()
        assert not first.fresh.any()
        assert first.version.tolist() == [0, 0]
        assert first.step.tolist() == [-1, -1]
        assert first.producer == ["", ""]
        second = table.lookup([2, 3])
        assert second.created.tolist() == [False, True]
        assert second.fresh.tolist() == [True, False]
        assert second.count.tolist() == [2, 1]

    def test_without_create_nothing_is_made(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, initializer=carls.Constant(4.0))
        table.lookup([1])
        rows = table.lookup([1, 2], create=False)
        assert rows.found.tolist() == [True, False]
        assert rows.values.tolist() == [[4.0, 4.0], [0.0, 0.0]]
        assert rows.fresh.tolist() == [True, False]
        assert not rows.created.any()
        assert len(table) == 1
        assert table.lookup([1], create=False).count.tolist() == [1]

    def test_rows_say_who_made_them_and_how_old_they_are(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.SGD(lr=1.0))
        table.assign(["a", "b"], [[1.0], [2.0]], step=1200)
        table.push_gradients(["b"], [[0.5]], step=1210)
        rows = table.lookup(["a", "b"], at_step=1260, max_age_steps=50)
        assert rows.fresh.tolist() == [False, True]
        assert rows.values.tolist() == [[1.0], [1.5]]
        assert rows.version.tolist() == [1, 2]
        assert rows.step.tolist() == [1200, 1210]
        assert rows.producer == [bank.producer] * 2
        assert (rows.age >= 0).all()
        assert (rows.age < 60).all()
        assert table.lookup(["a"], max_age_s=60.0).fresh.all()

    def test_duplicates_in_a_push_are_summed_first(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.Adagrad(lr=1.0), initializer=carls.Zeros())
        table.push_gradients([1, 2, 1], [[1.0], [1.0], [2.0]])
        rows = table.lookup([1, 2])
        np.testing.assert_allclose(rows.values, [[-1.0], [-1.0]], rtol=1e-6)
        assert rows.version.tolist() == [1, 1]

    def test_erased_rows_start_anew(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.Adagrad(lr=1.0), initializer=carls.Zeros())
        table.push_gradients(["a", "b"], [[1.0], [1.0]])
        assert table.erase(["a", "c"]).tolist() == [True, False]
        assert len(table) == 1
        rows = table.lookup(["a"])
        assert rows.created.all()
        assert rows.values.tolist() == [[0.0]]
        table.push_gradients(["a"], [[1.0]])
        np.testing.assert_allclose(table.lookup(["a"]).values, [[-1.0]], rtol=1e-6)

    def test_scan_gives_every_row_once(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        keys = [f"k{i}" for i in range(1000)]
        table.assign(keys, np.arange(1000, dtype=np.float32)[:, None], step=1)
        seen: dict[Any, float] = {}
        for part, rows in table.scan(batch=77):
            assert len(part) == len(rows) <= 77
            seen.update(zip(part.tolist(), rows.values[:, 0].tolist(), strict=True))
        assert seen == {key: float(i) for i, key in enumerate(keys)}
        assert list(bank.embeddings("empty", dim=1).scan()) == []
