"""Each write is applied once, in order, however often it arrives."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls.bank.ledger import Ledger
from carls.errors import (
    ClientForgottenError,
    InternalError,
    InvalidRequestError,
    InvalidValueError,
    ProtocolError,
)
from carls.messages import Done, Erased, Reply, WriteId


class Counter:
    """An operation that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> Reply:
        self.runs += 1
        return Done()


def test_a_repeated_write_gets_the_first_reply() -> None:
    ledger, operation = Ledger(), Counter()
    for _ in range(3):
        assert ledger.apply(WriteId("c", 1, True), "t", operation) == Done()
    assert operation.runs == 1


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20))
def test_any_order_of_arrival(sequences: list[int]) -> None:
    """Applied are exactly those writes that are newer than all before them."""
    ledger, applied, highest = Ledger(), [], 0
    for sequence in sequences:

        def operation(sequence: int = sequence) -> Reply:
            applied.append(sequence)
            return Done()

        if sequence < highest:
            with pytest.raises(ProtocolError):
                ledger.apply(WriteId("c", sequence, True), "t", operation)
        else:
            ledger.apply(WriteId("c", sequence, True), "t", operation)
        highest = max(highest, sequence)
    assert applied == sorted(set(applied))
    assert applied[-1] == max(sequences)


def test_an_error_is_an_outcome_too() -> None:
    ledger = Ledger()
    runs = []

    def fail() -> Reply:
        runs.append(1)
        raise InvalidValueError("nan")

    for _ in range(2):
        with pytest.raises(InvalidValueError, match="nan"):
            ledger.apply(WriteId("c", 1, True), "t", fail)
    assert len(runs) == 1


def test_a_fault_in_the_middle_is_not_tried_again() -> None:
    ledger, runs = Ledger(), []

    def fault() -> Reply:
        runs.append(1)
        raise RuntimeError("half of it is done")

    with pytest.raises(RuntimeError):
        ledger.apply(WriteId("c", 1, True), "t", fault)
    with pytest.raises(InternalError, match="not tried again"):
        ledger.apply(WriteId("c", 1, True), "t", fault)
    assert len(runs) == 1


def test_clients_and_tables_are_apart() -> None:
    ledger, operation = Ledger(), Counter()
    for client in ("a", "b"):
        for table in ("t", "u"):
            ledger.apply(WriteId(client, 1, True), table, operation)
    assert operation.runs == 4


def test_a_forgotten_client_is_an_error() -> None:
    ledger, operation = Ledger(max_clients=2), Counter()
    ledger.apply(WriteId("a", 1, True), "t", operation)
    ledger.apply(WriteId("b", 1, True), "t", operation)
    ledger.apply(WriteId("a", 2, False), "t", operation)
    ledger.apply(WriteId("c", 1, True), "t", operation)  # b was silent longest
    with pytest.raises(ClientForgottenError, match="not applied"):
        ledger.apply(WriteId("b", 2, False), "t", operation)
    ledger.apply(WriteId("a", 3, False), "t", operation)
    assert operation.runs == 5


def test_a_late_repeat_of_a_forgotten_first_write_is_refused() -> None:
    ledger, operation = Ledger(max_clients=1), Counter()
    ledger.apply(WriteId("a", 1, True), "t", operation)
    ledger.apply(WriteId("b", 1, True), "t", operation)
    with pytest.raises(ClientForgottenError):
        ledger.apply(WriteId("a", 1, True), "t", operation)
    ledger.forget_table("t")
    with pytest.raises(ClientForgottenError):
        ledger.apply(WriteId("b", 1, True), "t", operation)
    assert operation.runs == 2


def test_refused_writes_keep_nothing_alive() -> None:
    class Payload:
        pass

    ledger = Ledger()
    payload = Payload()
    alive = weakref.ref(payload)

    def fail(payload: Payload = payload) -> Reply:
        raise InvalidValueError(f"bad {payload}")

    with pytest.raises(InvalidValueError):
        ledger.apply(WriteId("a", 1, True), "t", fail)
    del payload, fail
    gc.collect()
    assert alive() is None


def test_a_dropped_table_forgets_its_writes() -> None:
    ledger, operation = Ledger(), Counter()
    ledger.apply(WriteId("a", 1, True), "t", operation)
    ledger.apply(WriteId("a", 1, True), "u", operation)
    ledger.forget_table("t")
    with pytest.raises(ClientForgottenError):
        ledger.apply(WriteId("a", 2, False), "t", operation)
    ledger.apply(WriteId("a", 2, False), "u", operation)
    assert operation.runs == 3


def test_sequence_numbers_start_at_one() -> None:
    with pytest.raises(InvalidRequestError, match="0"):
        Ledger().apply(WriteId("a", 0, True), "t", Counter())


def test_a_retry_that_overtakes_its_first_attempt_waits_for_it() -> None:
    ledger = Ledger()
    started, finish = threading.Event(), threading.Event()
    replies: list[Reply] = []

    def slow() -> Reply:
        started.set()
        assert finish.wait(10)
        return Erased(None)  # type: ignore[arg-type]

    first = threading.Thread(target=lambda: replies.append(ledger.apply(WriteId("a", 1, True), "t", slow)))
    first.start()
    assert started.wait(10)
    again = Counter()
    second = threading.Thread(target=lambda: replies.append(ledger.apply(WriteId("a", 1, True), "t", again)))
    second.start()
    finish.set()
    first.join(10)
    second.join(10)
    assert again.runs == 0
    assert len(replies) == 2
    assert replies[0] is replies[1]


def test_large_replies_are_kept_as_far_as_there_is_room() -> None:
    """The newest ones; no write runs twice for that."""
    ledger, runs = Ledger(max_kept_bytes=100_000), 0

    def operation() -> Reply:
        nonlocal runs
        runs += 1
        return Erased(np.zeros(40_000, np.bool_))

    clients = [f"c{i}" for i in range(4)]
    for client in clients:
        ledger.apply(WriteId(client, 1, True), "t", operation)
    for client in clients[:2]:
        with pytest.raises(InvalidRequestError, match=r"applied.*not kept"):
            ledger.apply(WriteId(client, 1, True), "t", operation)
    for client in clients[2:]:
        reply = ledger.apply(WriteId(client, 1, True), "t", operation)
        assert isinstance(reply, Erased)
        assert len(reply.found) == 40_000
    assert runs == 4
    # A client's later writes go on, and its small reply takes the place of the large one.
    assert ledger.apply(WriteId("c0", 2, False), "t", Counter()) == Done()
    assert ledger.apply(WriteId("c2", 2, False), "t", Counter()) == Done()
    ledger.apply(WriteId("c4", 1, True), "t", operation)
    assert isinstance(ledger.apply(WriteId("c3", 1, True), "t", operation), Erased)


def test_replies_of_a_dropped_table_take_no_room() -> None:
    ledger = Ledger(max_kept_bytes=100_000)
    large = Erased(np.zeros(60_000, np.bool_))
    ledger.apply(WriteId("c", 1, True), "dropped", lambda: large)
    ledger.forget_table("dropped")
    for client in ("d", "e"):
        ledger.apply(WriteId(client, 1, True), "t", lambda: Erased(np.zeros(45_000, np.bool_)))
    assert isinstance(ledger.apply(WriteId("d", 1, True), "t", Counter()), Erased)
