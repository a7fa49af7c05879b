"""Statistics are frozen values that refuse what cannot be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls.errors import InvalidValueError
from carls.statistics import Counters, Histogram, ProducerStatistics, TableStatistics, TaskStatistics

TABLE = TableStatistics("t", "embedding", None, 0, 0, Counters(), (), ())


@given(st.lists(st.integers(0, 5000), min_size=1), st.sampled_from([0.25, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_against_numpy(steps: list[int], share: float) -> None:
    counts = np.bincount([step.bit_length() for step in steps])
    below = Histogram(1, tuple(counts.tolist())).below(share)
    exact = np.quantile(steps, share, method="inverted_cdf")
    assert below is not None
    assert exact < below <= max(1, 2 * exact)


def test_a_histogram_of_nothing_has_no_quantiles() -> None:
    assert Histogram(1, (0, 0)) == Histogram(1)
    assert Histogram(1).below(0.5) is None
    assert Histogram(1).to_json()["below"] == {"p50": None, "p90": None, "p99": None, "max": None}


def test_units() -> None:
    assert Histogram(0.001, (0, 1)).below(1.0) == 0.002
    assert Histogram(1, (1,)).below(1.0) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Histogram(2, (1,)),
        lambda: Histogram(1, (1,) * 65),
        lambda: Histogram(1, (-1,)),
        lambda: Histogram(1, "12"),  # type: ignore[arg-type]
        lambda: Histogram(1, (1,)).below(0),
        lambda: Counters(lookups=-1),
        lambda: TaskStatistics(-1, 0, 0, 0, 0, None, None),
        lambda: TaskStatistics(1, 0, 0, 0, 0, float("nan"), None),
        lambda: TaskStatistics(1, 0, 0, 0, 0, 1.0, float("-inf")),
        lambda: TaskStatistics(1, 0, 0, 0, 0, "1", None),  # type: ignore[arg-type]
        lambda: dataclasses.replace(TABLE, tasks=3),  # type: ignore[arg-type]
        lambda: Counters(lookups=1.0),  # type: ignore[arg-type]
        lambda: ProducerStatistics("p", 1, -2, 0.0),
        lambda: ProducerStatistics("p", 1, 1, float("nan")),
        lambda: dataclasses.replace(TABLE, readers=[]),  # type: ignore[arg-type]
        lambda: dataclasses.replace(TABLE, producers=(3,)),  # type: ignore[arg-type]
        lambda: TableStatistics.from_json({}),
        lambda: TableStatistics.from_json([]),
        lambda: TableStatistics.from_json(TABLE.to_json() | {"counters": []}),
        lambda: TableStatistics.from_json(TABLE.to_json() | {"readers": {}}),
        lambda: TableStatistics.from_json(TABLE.to_json() | {"readers": None}),
    ],
)
def test_what_cannot_be(make: Any) -> None:
    with pytest.raises(InvalidValueError, match="expected"):
        make()


def test_what_a_newer_bank_tells_is_ignored() -> None:
    assert TableStatistics.from_json(TABLE.to_json() | {"new": 1}) == TABLE
