"""Every write is applied once, in order, whatever happens to calls on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank import Engine
from carls.service import BankServer
from carls.testing import Fault, OracleTable, connect_with_faults

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["push", "assign", "erase"]),
        st.lists(st.integers(0, 3), min_size=1, max_size=4),
        st.floats(-4, 4, width=32),
    ),
    min_size=1,
    max_size=12,
)
FAULTS = st.lists(st.sampled_from(list(Fault)), max_size=40)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    engine = Engine()
    with BankServer(engine) as served:
        yield served.url
    engine.close()


def insist(call: Callable[[], Any]) -> Any:
    """Do what a careful user does: repeat what was not sent, settle what is unknown."""
    while True:
        try:
            return call()
        except carls.OutcomeUnknownError:
            return None  # kept by the handle, which repeats it before the next write
        except (carls.UnavailableError, carls.DeadlineExceededError):
            continue


def settle(table: carls.EmbeddingTable) -> None:
    while True:
        try:
            return table.flush()
        except (carls.UnavailableError, carls.DeadlineExceededError):
            continue


def check(url: str | None, operations: list[Any], faults: list[Fault]) -> None:
    bank = connect_with_faults(url, faults)
    try:
        name = f"t{np.random.default_rng().integers(2**62)}"
        table = bank.embeddings(name, dim=2, optimizer=carls.Adagrad(lr=0.5), initializer=carls.Zeros())
        oracle = OracleTable(table.spec, bank.producer)
        for step, (kind, keys, number) in enumerate(operations):
            matrix = np.full((len(keys), 2), number, np.float32)
            if kind == "assign":
                insist(partial(table.assign, keys, matrix, step=step))
                oracle.assign(keys, matrix, step)
            elif kind == "erase":
                insist(partial(table.erase, keys))
                oracle.erase(keys)
            else:
                insist(partial(table.push_gradients, keys, matrix, step=step))
                oracle.push(keys, matrix, step)
        settle(table)
        everything = list(range(4))
        rows = table.lookup(everything, create=False)
        values, expected, _ = oracle.lookup(everything, False)
        np.testing.assert_allclose(rows.values, values, rtol=1e-6)
        assert rows.version.tolist() == [row.version if row else 0 for row in expected]
        assert rows.step.tolist() == [row.step if row else -1 for row in expected]
        bank.drop(name)
    finally:
        bank.close()


@given(OPERATIONS, FAULTS)
@settings(deadline=None, max_examples=150)
def test_in_process(operations: list[Any], faults: list[Fault]) -> None:
    check(None, operations, faults)


@given(OPERATIONS, FAULTS)
@settings(deadline=None, max_examples=50)
def test_through_a_server(server: str, operations: list[Any], faults: list[Fault]) -> None:
    check(server, operations, faults)


def test_faults_do_happen() -> None:
    """The test above would find a bank that applies a write twice."""
    bank = connect_with_faults(None, [Fault.LOSE_REPLY, Fault.DUPLICATE, Fault.LATE])
    table = bank.embeddings("t", dim=1, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())
    with pytest.raises(carls.OutcomeUnknownError):
        table.push_gradients([1], [[1.0]])
    assert table.lookup([1], create=False).values.tolist() == [[-1.0]]  # it was applied
    settle(table)
    with pytest.raises(carls.OutcomeUnknownError):
        table.push_gradients([1], [[1.0]])
    settle(table)
    assert table.lookup([1]).values.tolist() == [[-2.0]]
    assert bank._transport.happened == [Fault.LOSE_REPLY, Fault.DUPLICATE, Fault.LATE, Fault.NONE]  # type: ignore[attr-defined]
    bank.close()
