from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls.errors import InvalidRequestError
from carls.makers.budget import Budget


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_rows_are_paid_for_after_they_were_written():
    clock = Clock()
    budget = Budget(10.0, clock)
    assert budget.wait_s() == 0.0
    budget.spend(25)
    assert budget.wait_s() == pytest.approx(2.5)
    clock.now += 2.0
    assert budget.wait_s() == pytest.approx(0.5)
    clock.now += 0.5
    assert budget.wait_s() == pytest.approx(0.0, abs=1e-9)


def test_no_more_than_a_second_is_saved():
    clock = Clock()
    budget = Budget(10.0, clock)
    clock.now += 3600.0
    budget.spend(10)
    assert budget.wait_s() == 0.0
    budget.spend(10)
    assert budget.wait_s() == pytest.approx(1.0)


@given(
    st.floats(0.5, 1e4),
    st.lists(st.tuples(st.integers(1, 500), st.floats(0.0, 2.0)), min_size=1, max_size=50),
)
def test_the_rate_is_kept_whatever_the_batches(rate, batches):
    clock = Clock()
    budget, written = Budget(rate, clock), []
    for rows, work_s in batches:
        clock.now += budget.wait_s()
        clock.now += work_s
        budget.spend(rows)
        written.append((clock.now, rows))
    for first, (since, _) in enumerate(written):
        # Of all rows written from then on, all but the last batch were paid before it was begun.
        paid = sum(rows for _, rows in written[first + 1 : -1])
        assert paid <= rate * (clock.now - since + 1.0) + 1e-6 * (1 + paid)


def test_without_a_rate_nobody_waits():
    clock = Clock()
    budget = Budget(None, clock)
    for _ in range(3):
        budget.spend(10**9)
        assert budget.wait_s() == 0.0
    assert budget.batch(1024) == 1024


@pytest.mark.parametrize(("rate", "batch"), [(0.1, 1), (1.0, 1), (99.9, 99), (5000.0, 1024)])
def test_batches_are_no_more_than_a_second_allows(rate, batch):
    assert Budget(rate).batch(1024) == batch


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), "10", True])
def test_rates_that_cannot_be(rate):
    with pytest.raises(InvalidRequestError, match="rows_per_s="):
        Budget(rate)
