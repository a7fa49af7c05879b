"""Gradients that wait: means, outliers, who sees what."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank

_SPEC: dict[str, Any] = {"dim": 2, "optimizer": carls.SGD(lr=1.0), "initializer": carls.Zeros()}


class LazyAggregation:
    """Gradients that wait: means, outliers, who sees what."""

    @pytest.mark.parametrize(
        "read",
        [
            lambda table: table.lookup(["a"]).values,
            lambda table: table.lookup(["a"], create=False).values,
            lambda table: table.lookup_async(["a"]).result(10).values,
            lambda table: table.sample(1).values[0],
            lambda table: next(iter(table.scan()))[1].values,
            lambda table: np.stack(table.to_arrow().column("value").to_numpy()),
            lambda table: np.stack(table.to_arrow(state=True).column("value").to_numpy()),
        ],
        ids=["lookup", "no create", "async", "sample", "scan", "export", "export with state"],
    )
    def test_whoever_reads_finds_the_mean(self, bank: Bank, read: Callable[[Any], Any]) -> None:
        table = bank.embeddings("t", aggregate="lazy", **_SPEC)
        for step, gradient in ((5, [1.0, 4.0]), (9, [2.0, -1.0]), (7, [3.0, 0.0])):
            table.push_gradients(["a"], [gradient], step=step)
        assert table.statistics().pending == 3
        np.testing.assert_allclose(read(table), [[-2.0, -1.0]])
        rows = table.lookup(["a"])
        assert (rows.version.tolist(), rows.step.tolist()) == ([1], [7])
        assert table.statistics().pending == 0

    def test_a_refused_search_leaves_waiting_what_waits(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, aggregate="lazy", optimizer=carls.SGD(lr=1.0), keys="string")
        bank.features("f", {"kind": "int32"}, keys="string")
        for _ in range(2):
            table.push_gradients(["a"], [[1, 1]])
        with pytest.raises(carls.InvalidRequestError, match="no column"):
            table.nearest([[1.0, 1.0]], where=carls.Where("f", "none", equals=1))
        assert table.statistics().pending == 2

    def test_producers_wait_together(self, bank: Bank) -> None:
        table = bank.embeddings("t", aggregate=carls.Lazy(max_pending=4), **_SPEC)
        others = [bank.embeddings("t", aggregate=carls.Lazy(max_pending=4), **_SPEC) for _ in range(3)]
        for number, handle in enumerate([table, *others]):
            assert table.statistics().pending == [0, 1, 3, 5][number]
            handle.push_gradients([1, 2, 1], [[1.0, 0.0], [1.0, 0.0], [number, 0.0]])
            if number == 0:
                table.lookup([2])  # what waits for the row of 1 goes on waiting
        assert table.statistics().pending == 3  # for the row of 2; that of 1 had all it may have
        rows = table.lookup([1, 2])
        assert rows.values[:, 0].tolist() == [-(1 + 1.5), -2.0]
        assert rows.version.tolist() == [1, 2]

    def test_what_waits_comes_before_an_assign_and_a_change_of_the_rate(self, bank: Bank) -> None:
        table = bank.embeddings("t", aggregate="lazy", **_SPEC)
        table.push_gradients([1], [[1.0, 1.0]])
        table.assign([1], [[5.0, 5.0]])
        table.push_gradients([1], [[1.0, 1.0]])
        table.set_learning_rate(10.0)
        table.push_gradients([1], [[0.1, 0.2]])
        rows = table.lookup([1])
        np.testing.assert_allclose(rows.values, [[3.0, 2.0]])
        assert rows.version.tolist() == [4]

    def test_waiting_ends_in_time(self, bank: Bank) -> None:
        table = bank.embeddings("t", aggregate=carls.Lazy(max_delay_s=0.05), **_SPEC)
        table.push_gradients([1], [[1.0, 1.0]])
        deadline = time.monotonic() + 30
        while table.statistics().pending:
            assert time.monotonic() < deadline, "what waits was not applied in time"
        table.push_gradients([1], [[1.0, 1.0]])
        assert table.lookup([1]).version.tolist() == [2]

    @pytest.mark.parametrize("outliers", ["clip", "drop"])
    def test_outliers_are_held_back_and_counted(self, bank: Bank, outliers: str) -> None:
        table = bank.embeddings("t", aggregate=carls.Lazy(outliers=outliers, max_pending=1), **_SPEC)
        for _ in range(10):
            table.push_gradients([1], [[3.0, 4.0]])
        table.assign([1], [[0.0, 0.0]])
        table.push_gradients([1], [[3000.0, 4000.0]])
        expected = [[-30.0, -40.0]] if outliers == "clip" else [[0.0, 0.0]]
        np.testing.assert_allclose(table.lookup([1]).values, expected, rtol=1e-4)
        counters = table.statistics().counters
        assert (counters.outliers, counters.discarded, counters.dropped) == (1, 0, 0)
        assert bank.status().tables[0].counters.outliers == 1

    def test_what_waits_for_an_erased_row_is_counted(self, bank: Bank) -> None:
        table = bank.embeddings("t", aggregate="lazy", **_SPEC)
        table.push_gradients([1, 2], np.ones((2, 2), np.float32))
        table.push_gradients([1], np.ones((1, 2), np.float32))
        assert table.erase([1]).tolist() == [True]
        assert table.statistics().counters.discarded == 2
        assert table.lookup([1, 2]).values.tolist() == [[0.0, 0.0], [-1.0, -1.0]]

    def test_aggregation_is_part_of_the_spec(self, bank: Bank) -> None:
        table = bank.embeddings("t", aggregate=carls.Lazy(max_pending=8), **_SPEC)
        assert bank.describe("t").spec["aggregate"] == carls.Lazy(max_pending=8).to_json()
        assert bank.open("t").spec == table.spec
        with pytest.raises(carls.SpecMismatchError, match="lazy"):
            bank.embeddings("t", **_SPEC)
        for wrong in ("eager", {"name": "lazy", "max_pending": 0}, {"name": "lazy", "outliers": "keep"}, 7):
            with pytest.raises(carls.InvalidSpecError):
                bank.embeddings("u", aggregate=wrong, **_SPEC)  # type: ignore[arg-type]
        with pytest.raises(carls.InvalidSpecError, match="optimizer"):
            bank.embeddings("u", dim=2, aggregate="lazy")

    def test_a_refused_push_leaves_nothing_waiting(self, bank: Bank) -> None:
        table = bank.embeddings("t", aggregate="lazy", **_SPEC)
        table.push_gradients([1], [[1.0, 1.0]])
        with pytest.raises(carls.InvalidValueError):
            table.push_gradients([1, 2], [[1.0, 1.0], [np.nan, 1.0]])
        assert table.statistics().pending == 1
        assert table.lookup([1, 2], create=False).values.tolist() == [[-1.0, -1.0], [0.0, 0.0]]
