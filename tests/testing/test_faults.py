"""Every write is applied once, in order, whatever happens to calls on their way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from careful import VERBS, Operation, Trainer, operations
from carls.bank import Engine
from carls.messages import Assign
from carls.service import BankServer
from carls.testing import Fault, connect_with_faults

FAULTS = st.lists(st.sampled_from(list(Fault)), max_size=40)
#: On a server that the tests share nothing is replaced.
NO_RESTART = st.lists(st.sampled_from([fault for fault in Fault if fault is not Fault.RESTART]), max_size=40)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    engine = Engine()
    with BankServer(engine) as served:
        yield served.url
    engine.close()


def check(url: str | None, writes: list[list[Operation]], faults: list[Fault]) -> None:
    """Each list of writes by a trainer of its own, all at once."""
    with connect_with_faults(url, faults, producer=os.urandom(4).hex()) as bank:
        first = 1 + int.from_bytes(os.urandom(4), "big")
        trainers = [Trainer(bank, first + number) for number in range(len(writes))]
        failures: list[BaseException] = []

        def train(trainer: Trainer, operations: list[Operation]) -> None:
            try:
                for operation in operations:
                    trainer.do(operation)
                trainer.settle()
            except BaseException as error:
                failures.append(error)

        threads = [
            threading.Thread(target=train, args=pair) for pair in zip(trainers[1:], writes[1:], strict=True)
        ]
        for thread in threads:
            thread.start()
        train(trainers[0], writes[0])
        for thread in threads:
            thread.join(60)
        if failures:
            raise failures[0]
        for trainer in trainers:
            trainer.check()


@given(operations(), FAULTS)
@settings(deadline=None, max_examples=150)
def test_in_process(writes: list[Operation], faults: list[Fault]) -> None:
    check(None, [writes], faults)


@given(operations(), NO_RESTART)
@settings(deadline=None, max_examples=40)
def test_through_a_server(server: str, writes: list[Operation], faults: list[Fault]) -> None:
    check(server, [writes], faults)


@given(st.lists(operations(6), min_size=2, max_size=3), NO_RESTART)
@settings(deadline=None, max_examples=30)
def test_from_several_threads(writes: list[list[Operation]], faults: list[Fault]) -> None:
    check(None, writes, faults)


#: The handles of tables each tell of a restart; `bank.models`, which threads share, tells once.
OF_TABLES = [verb for verb in VERBS if verb != "publish"]


@given(st.lists(operations(6, OF_TABLES), min_size=2, max_size=3), FAULTS)
@settings(deadline=None, max_examples=30)
def test_from_several_threads_with_restarts(writes: list[list[Operation]], faults: list[Fault]) -> None:
    check(None, writes, faults)


@pytest.mark.slow
@given(operations(40), st.lists(st.sampled_from(list(Fault)), max_size=200))
@settings(deadline=None, max_examples=1000)
def test_long_schedules(writes: list[Operation], faults: list[Fault]) -> None:
    check(None, [writes], faults)


@pytest.mark.slow
@given(
    st.lists(operations(40, OF_TABLES), min_size=2, max_size=4),
    st.lists(st.sampled_from(list(Fault)), max_size=200),
)
@settings(deadline=None, max_examples=500)
def test_long_schedules_from_several_threads(writes: list[list[Operation]], faults: list[Fault]) -> None:
    check(None, writes, faults)


def test_faults_do_happen() -> None:
    """The tests above would find a bank that applies a write twice."""
    bank = connect_with_faults(None, [Fault.LOSE_REPLY, Fault.DUPLICATE, Fault.LATE])
    table = bank.embeddings("t", dim=1, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())
    with pytest.raises(carls.OutcomeUnknownError):
        table.push_gradients([1], [[1.0]])
    assert table.lookup([1], create=False).values.tolist() == [[-1.0]]  # it was applied
    table.flush()
    with pytest.raises(carls.OutcomeUnknownError):
        table.push_gradients([1], [[1.0]])
    table.flush()
    assert table.lookup([1]).values.tolist() == [[-2.0]]
    assert bank._transport.happened == [Fault.LOSE_REPLY, Fault.DUPLICATE, Fault.LATE, Fault.NONE]  # type: ignore[attr-defined]
    bank.close()


def test_what_arrives_late_arrives_as_it_was_sent() -> None:
    with connect_with_faults(None, [Fault.ECHO]) as bank:
        table = bank.embeddings("t", dim=1)
        seen: list[tuple[object, object]] = []
        call = bank._transport._wire._inner.call  # type: ignore[attr-defined]

        def note(request: Any, timeout_s: float) -> object:
            if isinstance(request, Assign):
                seen.append((request.write.sequence, request.values.tolist()))
            return call(request, timeout_s)

        bank._transport._wire._inner.call = note  # type: ignore[attr-defined]
        values = np.ones((1, 1), np.float32)
        table.assign([1], values)
        values[:] = 7
        for _ in range(2):
            table.assign([2], values)
        assert seen == [(1, [[1.0]]), (2, [[7.0]]), (3, [[7.0]]), (1, [[1.0]])]
        assert table.lookup([1, 2]).version.tolist() == [1, 2]


def test_a_replaced_bank_is_told_once() -> None:
    with connect_with_faults(None, [Fault.NONE, Fault.RESTART]) as bank:
        table = bank.embeddings("t", dim=1)
        table.assign([1], [[1.0]])
        with pytest.raises(carls.BankRestartedError):
            table.assign([1], [[2.0]])
        assert not table.lookup([1], create=False).found.any()
        table.assign([1], [[2.0]])
        assert table.lookup([1]).version.tolist() == [1]


@given(st.lists(st.sampled_from([f for f in Fault if f is not Fault.RESTART]), max_size=8))
@settings(deadline=None, max_examples=30)
def test_a_table_made_anew_outlives_the_drop_before(faults: list[Fault]) -> None:
    with connect_with_faults(None, faults) as bank:
        bank.embeddings("t", dim=1).close()
        while True:
            try:
                bank.drop("t")
            except carls.OutcomeUnknownError:
                break
            except (carls.UnavailableError, carls.LimitReachedError):
                continue
            break
        while True:
            try:
                bank.flush()
                break
            except carls.DeadlineExceededError:
                continue
        assert bank.tables() == []
        bank.embeddings("t", dim=2)
        bank._transport.deliver_late()  # type: ignore[attr-defined]
        assert [table.spec["dim"] for table in bank.tables()] == [2]
