"""Searches by looking at every row, against brute force."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import carls
from carls import messages as m
from carls.bank import Engine
from carls.bank import search as bank_search
from carls.specs import METRICS
from carls.testing.oracle import nearest_rows


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 200),
    dim=st.integers(1, 40),
    queries=st.integers(1, 20),
    k=st.integers(1, 30),
    metric=st.sampled_from(METRICS),
    dtype=st.sampled_from(["float32", "float16"]),
    erased=st.integers(0, 50),
    data=st.data(),
)
def test_all_metrics_match_brute_force(
    rows: int, dim: int, queries: int, k: int, metric: str, dtype: str, erased: int, data: Any
) -> None:
    """Whole numbers, whose sums float32 holds exactly: ties are ties on both sides."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = rng.integers(-4, 5, (rows, dim)).astype(np.float32)
    asked = rng.integers(-4, 5, (queries, dim)).astype(np.float32)
    keys = [int(key) for key in rng.choice(10_000, rows, replace=False) - 5000]
    excluded = [[int(key) for key in rng.choice(keys, min(rows, 3))] for _ in range(queries)]
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim, dtype=dtype)
        table.assign(keys, values)
        gone = set(keys[:erased])
        if gone:
            table.erase(list(gone))
        found = table.nearest(asked, k, metric, exclude=excluded)
    for i, (mine, scores) in enumerate(found):
        stay = [j for j, key in enumerate(keys) if key not in gone and key not in excluded[i]]
        if metric == "cosine":
            # Rounding decides between equal angles: the scores are compared, and that each is the key's own.
            expected = nearest_rows([keys[j] for j in stay], values[stay], asked[i], k, metric)
            np.testing.assert_allclose(scores, [score for _, score in expected], atol=1e-6)
            own = dict(nearest_rows([keys[j] for j in stay], values[stay], asked[i], rows, metric))
            np.testing.assert_allclose(scores, [own[key] for key in mine], atol=1e-6)
            assert len(set(mine)) == len(mine)
            continue
        expected = nearest_rows([keys[j] for j in stay], values[stay], asked[i], k, metric)
        assert list(zip(mine.tolist(), scores.tolist(), strict=True)) == expected


def test_several_threads_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-2, 3, (5000, 8)).astype(np.float32)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=8)
        table.assign(np.arange(5000), values)
        one = table.nearest(values[:9], k=100)
        monkeypatch.setattr(bank_search, "_WORTH_THREADS", 1)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
        several = table.nearest(values[:9], k=100)
    np.testing.assert_array_equal(one.keys.integers, several.keys.integers)
    np.testing.assert_array_equal(one.scores, several.scores)


def test_large_calls_are_several_requests() -> None:
    """Excluded keys, shared or of each query, go with the queries that they are for."""
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=2048)
        table.assign(np.arange(4), np.eye(4, 2048, dtype=np.float32))
        queries = np.tile(np.eye(4, 2048, dtype=np.float32), (1000, 1))
        lists = [[i % 4] if i % 3 else [] for i in range(4000)]
        found = table.nearest(queries, k=1, exclude=lists)
        assert found.keys.tolist() == [(0 if i % 4 else 1) if i % 3 else i % 4 for i in range(4000)]
        assert table.statistics().counters.searches == 2
        shared = table.nearest(queries, k=1, exclude=[0, 1])
        assert shared.keys.tolist() == [2, 2, 2, 3] * 1000


def test_sums_beyond_float32_are_defined() -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=2)
        table.assign(["up", "both", "down", "one"], [[3e38, 3e38], [3e38, -3e38], [-3e38, -3e38], [1, 0]])
        found = table.nearest([[3e38, 3e38]], k=4)
        assert found.keys.tolist() == ["up", "one", "both", "down"]
        assert found.scores[0, 0] == np.inf
        assert found.scores[0, 2] == -np.inf


def test_expired_rows_are_not_found() -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=1, eviction=carls.TTL(0.001))
        table.assign(["a"], [[1]])
        deadline = threading.Event()
        for _ in range(1000):
            if table.nearest([[1.0]]).counts.tolist() == [0]:
                break
            deadline.wait(0.001)
        assert table.nearest([[1.0]]).counts.tolist() == [0]


def test_rows_are_never_read_half_written() -> None:
    """Writers set whole rows to one number; every score is that of such a row."""
    dim, stop = 64, threading.Event()
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim)
        table.assign(np.arange(64), np.ones((64, dim), np.float32))

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                table.assign(np.arange(64), np.full((64, dim), number % 1000, np.float32))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(300):
                scores = table.nearest(np.ones((1, dim), np.float32), k=64).scores
                np.testing.assert_array_equal(scores % dim, 0)
        finally:
            stop.set()
            writer.join()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"queries": np.zeros((0, 2), np.float32)}, "at least one"),
        ({"queries": np.zeros((1, 3), np.float32)}, r"expected \(1, 2\)"),
        ({"queries": np.full((1, 2), np.nan, np.float32)}, "nan"),
        ({"k": 0}, "k=0"),
        ({"k": -5}, "k=-5"),
        ({"metric": "x"}, "metric='x'"),
        ({"where": "x"}, "JSON text"),
        ({"where": "[]"}, "object of table"),
        ({"where": json.dumps({"table": "f", "column": "c", "values": [1.5]})}, "value 1.5"),
        ({"where": json.dumps({"table": "f", "column": "c", "values": {}})}, "expected an array"),
        ({"excluded": m.KeyLists.none(2)}, "do not fit"),
        ({"excluded": m.KeyLists(carls.Keys.of([1]), np.array([0, 2], np.int32))}, "do not fit"),
        ({"excluded": m.KeyLists(carls.Keys.of([1]), np.array([1, 1], np.int32))}, "do not fit"),
    ],
)
def test_forged_requests_are_refused(change: dict[str, Any], expected: str) -> None:
    engine = Engine()
    spec = carls.EmbeddingSpec(dim=2, keys="int64")
    engine.handle(m.OpenTable("t", spec.to_json()))
    good = m.Nearest("t", np.ones((1, 2), np.float32), m.KeyLists.none(1), False, 1, "dot", "", True)
    assert engine.handle(good).counts == (0,)
    with pytest.raises(carls.InvalidRequestError, match=expected):
        engine.handle(good._replace(**change))
    engine.close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "equals= or isin="),
        ({"equals": 1, "isin": [1]}, "equals= or isin="),
        ({"equals": 1.5}, "1.5"),
        ({"isin": "abc"}, "list of values"),
        ({"isin": 5}, "list of values"),
    ],
)
def test_filters_that_cannot_be(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(carls.InvalidRequestError, match=expected):
        carls.Where("f", "c", **arguments)


def test_a_filter_has_a_json_form() -> None:
    where = carls.Where("f", "c", isin=(np.int64(3), "x", np.True_))
    assert carls.Where.from_json(json.loads(json.dumps(where.to_json()))) == where
    assert where.values == (3, "x", True)


@pytest.mark.slow
def test_keys_too_long_for_a_reply_are_told() -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=1)
        keys = [f"{i:03d}".ljust(65_000, "x") for i in range(300)]
        table.assign(keys, np.ones((300, 1), np.float32))
        assert table.nearest(np.ones((3, 1)), k=300).counts.tolist() == [300] * 3
        with pytest.raises(carls.RequestTooLargeError, match="fewer queries"):
            table.nearest(np.ones((60, 1)), k=300)
