"""DriftLimit: what it asks the bank, and what it does when the bank goes away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import carls
from carls.bank import Engine
from carls.client import drift
from carls.client.transport import Transport
from carls.messages import LatestKnowledge, Reply, Request
from carls.service import BankProcess


class Counting:
    """A transport that counts questions about knowledge, and tells when one is asked."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.url = inner.url
        self.asked = 0
        self.asking = threading.Event()

    @property
    def bank_id(self) -> str:
        return self._inner.bank_id

    @bank_id.setter
    def bank_id(self, value: str) -> None:
        self._inner.bank_id = value

    def call(self, request: Request, timeout_s: float) -> Reply:
        if isinstance(request, LatestKnowledge):
            self.asked += 1
            self.asking.set()
        return self._inner.call(request, timeout_s)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def bank() -> Iterator[carls.Bank]:
    with carls.connect() as bank:
        bank._transport = Counting(bank._transport)
        yield bank


def test_a_step_within_the_limit_costs_no_call(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_REFRESH_S", 3600.0)
    table = bank.embeddings("t", dim=1)
    limit = carls.DriftLimit(table, max_age_steps=4)
    table.announce(10)
    assert limit.wait(11) > 0
    assert [limit.wait(step) for step in (12, 13, 14)] == [0.0, 0.0, 0.0]
    assert (bank._transport.asked, limit.age_steps) == (1, 4)
    table.announce(20)
    assert limit.wait(15) > 0
    assert (bank._transport.asked, limit.age_steps) == (2, -5)


def test_the_age_is_looked_at_now_and_then(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_REFRESH_S", -1.0)
    table = bank.embeddings("t", dim=1)
    bounded, unbounded = carls.DriftLimit(table, max_age_steps=9), carls.DriftLimit(table, max_age_steps=None)
    assert bounded.age_steps is None
    for announced in (0, 3, 5):
        table.announce(announced)
        for limit in (bounded, unbounded):
            limit.wait(6)
            assert limit.age_steps == 6 - announced


def test_a_maker_that_begins_anew_at_a_lower_step_is_waited_for(bank: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(drift, "_REFRESH_S", -1.0)
    table = bank.embeddings("t", dim=1)
    limit = carls.DriftLimit(table, max_age_steps=2, timeout_s=0.05)
    table.announce(100)
    limit.wait(50)
    bank.embeddings("t", dim=1).announce(10)
    limit.wait(12)
    with pytest.raises(carls.DeadlineExceededError, match="knowledge of step 10"):
        limit.wait(13)


def test_many_wait_for_one_announcement(bank: Any) -> None:
    table = bank.embeddings("t", dim=1)
    limits = [carls.DriftLimit(table, max_age_steps=2, timeout_s=60.0) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(limit.wait, step) for step, limit in enumerate(limits)]
        table.announce(5)
        for future in waiting:
            future.result(30)
    assert [limit.age_steps for limit in limits] == [step - 5 for step in range(8)]


def waiter(limit: carls.DriftLimit, step: int) -> tuple[threading.Thread, list[Any]]:
    told: list[Any] = []

    def wait() -> None:
        try:
            told.append(limit.wait(step))
        except carls.CarlsError as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, told


def test_a_server_that_closes_wakes_who_waits(serve: Any) -> None:
    engine = Engine()
    with carls.connect(serve(engine).url) as bank:
        counting = bank._transport = Counting(bank._transport)
        thread, told = waiter(carls.DriftLimit(bank.embeddings("t", dim=1), timeout_s=600.0), 0)
        assert counting.asking.wait(10)
        engine.close()
        thread.join(30)
        assert isinstance(told[0], carls.ClosedError)


def test_a_closed_handle_is_not_waited_with(bank: Any) -> None:
    table = bank.embeddings("t", dim=1)
    thread, told = waiter(carls.DriftLimit(table, timeout_s=600.0), 0)
    assert bank._transport.asking.wait(10)
    table.close()
    thread.join(30)
    assert isinstance(told[0], carls.ClosedError)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_restart_is_told_once_and_old_knowledge_forgotten() -> None:
    port = free_port()
    first = BankProcess(("--port", port))
    with carls.connect(first.url) as bank:
        table = bank.embeddings("t", dim=1)
        limit = carls.DriftLimit(table, max_age_steps=4, timeout_s=30.0)
        table.announce(1000)
        limit.wait(1000)
        first.kill()
        with BankProcess(("--port", port)):
            with pytest.raises(carls.BankRestartedError):
                limit.wait(1005)
            assert limit.age_steps is None
            table.announce(1)
            limit.wait(5)
            assert limit.age_steps == 4
            brief = carls.DriftLimit(table, max_age_steps=4, timeout_s=0.05)
            with pytest.raises(carls.DeadlineExceededError):
                brief.wait(6)
            bank.close()


def test_a_restart_that_the_handle_was_told_of_is_not_told_again() -> None:
    port = free_port()
    first = BankProcess(("--port", port))
    with carls.connect(first.url) as bank:
        table = bank.embeddings("t", dim=1)
        limit = carls.DriftLimit(table, max_age_steps=4, timeout_s=0.05)
        table.announce(1000)
        limit.wait(1000)
        first.kill()
        with BankProcess(("--port", port)):
            with pytest.raises(carls.BankRestartedError):
                table.lookup([1])
            with pytest.raises(carls.DeadlineExceededError, match="Nothing was ever announced"):
                limit.wait(7)
            bank.close()
