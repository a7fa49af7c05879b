"""Counters, ages that readers met, and status."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from carls.client import Bank


class Statistics:
    """Counters, ages that readers met, and status."""

    def test_a_table_counts_what_happens_to_it(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0, max_norm=2.0))
        table.assign([1, 2], np.ones((2, 2), np.float32), step=10)
        table.push_gradients([1, 1, 3], np.ones((3, 2), np.float32), step=30)
        table.lookup([1, 2, 3, 4], at_step=40, max_age_steps=10)
        table.lookup([5, 1], create=False)
        table.erase([4, 5])
        list(table.scan())
        counters = table.statistics().counters
        assert (counters.lookups, counters.looked_up) == (2, 6)
        assert (counters.created, counters.missed, counters.stale, counters.fresh) == (1, 1, 1, 3)
        assert (counters.writes, counters.written, counters.erased) == (2, 4, 1)
        assert (counters.clipped, counters.rejected, counters.retried) == (1, 0, 0)  # of row 1, norm 2.8

    def test_a_refused_write_is_counted(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0))
        table.lookup([1])
        with pytest.raises(carls.InvalidValueError):
            table.push_gradients([1], np.full((1, 2), np.nan, np.float32))
        with pytest.raises(carls.InvalidKeyError):
            table.assign(["1"], np.ones((1, 2), np.float32))
        counters = table.statistics().counters
        assert (counters.rejected, counters.writes, counters.written) == (2, 0, 0)

    def test_readers_know_how_old_the_rows_were(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign([0, 1, 2, 4, 20], np.ones((5, 1), np.float32), step=0)
        table.assign([1, 2, 4, 20], np.ones((4, 1), np.float32), step=9)
        table.assign([2, 4, 20], np.ones((3, 1), np.float32), step=8)
        table.assign([4], np.ones((1, 1), np.float32), step=6)
        table.assign([20], np.ones((1, 1), np.float32), step=20)
        table.lookup([7], at_step=10)  # made: not read
        table.lookup([0, 1, 2, 4, 20, 7], at_step=10)
        table.lookup([0, 1], create=False)
        (reader,) = table.statistics().readers
        assert reader.name == bank.producer
        assert (reader.ahead, reader.unsaid) == (1, 1)
        assert reader.steps.counts == (0, 1, 1, 1, 1)  # 1, 2, 4 and 10 steps behind
        assert reader.seconds.total == 8
        assert 0.001 <= (reader.seconds.below(1.0) or 0) < 120

    def test_features_are_counted_alike(self, bank: Bank) -> None:
        table = bank.features("t", {"label": "int32"})
        table.assign(["a", "b"], {"label": [1, 2]}, step=3)
        table.lookup(["a", "b", "c"], at_step=4, max_age_steps=0)
        statistics = table.statistics()
        assert (statistics.kind, statistics.keys, statistics.rows) == ("feature", "string", 2)
        assert statistics.counters.missed == 1
        assert statistics.counters.stale == 2
        assert statistics.readers[0].steps.counts == (0, 2)

    def test_producers_are_named(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign([1, 2], np.ones((2, 1), np.float32), step=70)
        table.assign([1], np.ones((1, 1), np.float32), step=60)
        (producer,) = table.statistics().producers
        assert (producer.name, producer.written, producer.step) == (bank.producer, 3, 70)
        assert 0 <= producer.age < 60

    def test_status_tells_all_tables_and_models(self, bank: Bank) -> None:
        empty = bank.status()
        assert (empty.tables, empty.models) == ((), ())
        table = bank.embeddings("t", dim=1)
        bank.features("s", {"label": "int32"})
        table.lookup([1])
        bank.models.publish("encoder", {"w": np.ones(1)}, step=12)
        status, info = bank.status(), bank.info()
        assert (status.id, status.version, status.durable) == (info.id, info.version, info.durable)
        assert status.uptime_s <= info.uptime_s
        assert [one.name for one in status.tables] == ["s", "t"]
        assert status.tables[1] == table.statistics()
        (model,) = status.models
        assert (model.name, model.version, model.step, model.producer) == ("encoder", 1, 12, bank.producer)

    def test_a_dropped_table_begins_anew(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup([1])
        bank.drop("t")
        with pytest.raises(carls.UnknownTableError):
            table.statistics()
        assert bank.embeddings("t", dim=1).statistics().counters.lookups == 0
