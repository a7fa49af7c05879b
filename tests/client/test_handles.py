"""Handles when things go wrong: cancelled futures, reused arrays, restarts, slow banks, the end."""

from __future__ import annotations

import asyncio
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import carls
from carls.bank import Engine
from carls.client.local import LocalTransport
from carls.messages import OpenTable, PushGradients, Reply, Request
from carls.service import BankProcess
from carls.testing import Fault, connect_with_faults

ONES = np.ones((1, 2), np.float32)


def open_table(bank: carls.Bank, name: str = "t") -> carls.EmbeddingTable:
    return bank.embeddings(name, dim=2, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())


@pytest.fixture
def bank() -> Iterator[carls.Bank]:
    with carls.connect() as bank:
        yield bank


class Gate:
    """Holds back requests of one kind until it is opened."""

    def __init__(self, bank: carls.Bank, kind: type) -> None:
        self._call = bank._transport.call
        self._kind = kind
        self.entered = threading.Event()
        self.open = threading.Event()
        bank._transport.call = self.call  # type: ignore[method-assign]

    def call(self, request: Request, timeout_s: float) -> Reply:
        if isinstance(request, self._kind):
            self.entered.set()
            assert self.open.wait(20)
        return self._call(request, timeout_s)


def test_a_cancelled_write_is_not_sent_and_harms_nobody(bank: carls.Bank) -> None:
    table = open_table(bank)
    gate = Gate(bank, PushGradients)
    first, second, third = (table.push_gradients_async([1], ONES) for _ in range(3))
    assert gate.entered.wait(10)
    assert not first.cancel()
    assert second.cancel()
    gate.open.set()
    third.result(10)
    table.push_gradients([1], ONES)
    assert table.lookup([1]).values.tolist() == [[-3.0, -3.0]]


def test_awaiting_with_a_timeout_harms_nobody(bank: carls.Bank) -> None:
    table = open_table(bank)

    async def impatient() -> None:
        for _ in range(20):
            future = asyncio.wrap_future(table.push_gradients_async([1], ONES))
            try:
                await asyncio.wait_for(future, 1e-6)
            except asyncio.TimeoutError:
                continue

    asyncio.run(impatient())
    table.flush(10)
    assert table.lookup([1], create=False).version[0] <= 20
    table.push_gradients([1], ONES)


def test_a_write_behind_a_queue_keeps_its_own_deadline(bank: carls.Bank) -> None:
    table = open_table(bank)
    gate = Gate(bank, PushGradients)
    table.push_gradients_async([1], ONES)
    assert gate.entered.wait(10)
    with pytest.raises(carls.DeadlineExceededError, match="not sent"):
        table.push_gradients([1], ONES, timeout_s=0.05)
    gate.open.set()
    table.flush(10)
    assert table.lookup([1]).version.tolist() == [1]


def test_an_awaited_error_is_raised_once(bank: carls.Bank) -> None:
    table = open_table(bank)
    gate = Gate(bank, PushGradients)
    table.push_gradients_async([1], ONES)
    assert gate.entered.wait(10)
    caught: list[BaseException] = []

    def push() -> None:
        try:
            table.push_gradients([1], np.full((1, 2), np.nan, np.float32))
        except carls.CarlsError as error:
            caught.append(error)

    thread = threading.Thread(target=push)
    thread.start()
    gate.open.set()
    thread.join(10)
    assert [type(error) for error in caught] == [carls.InvalidValueError]
    table.lookup([1])
    table.flush()


def test_key_arrays_may_be_used_again(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=1)
    table.assign([1, 2, 3, 4], [[1.0], [2.0], [3.0], [4.0]])
    keys = np.array([1, 2])
    table.prefetch(keys)
    keys[:] = [3, 4]
    assert table.lookup(keys).values[:, 0].tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match="read-only"):
        carls.Keys.of(keys).integers[0] = 5  # type: ignore[index]


def test_gradient_arrays_may_be_used_again_after_an_unknown_outcome() -> None:
    with connect_with_faults(None, [Fault.LOSE_REQUEST]) as bank:
        table = open_table(bank)
        gradients = ONES.copy()
        with pytest.raises(carls.OutcomeUnknownError):
            table.push_gradients([1], gradients)
        gradients[:] = 99
        table.flush()
        assert table.lookup([1]).values.tolist() == [[-1.0, -1.0]]


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.CUT, Fault.FULL])
@pytest.mark.parametrize("background", [False, True])
def test_a_push_of_several_parts_is_applied_once_though_one_fails(fault: Fault, background: bool) -> None:
    with connect_with_faults(None, [Fault.NONE, fault]) as bank:
        table = bank.embeddings("t", dim=2048, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())
        gradients = np.ones((5000, 2048), np.float32)  # 39 MiB: three parts
        push = table.push_gradients
        if background:
            push = lambda *args: table.push_gradients_async(*args).result(10)  # type: ignore[assignment]  # noqa: E731
        with pytest.raises(carls.OutcomeUnknownError):
            push(np.arange(5000), gradients)
        gradients[:] = 99
        table.flush()
        rows = table.lookup(np.arange(5000), create=False)
        assert (rows.version == 1).all()
        assert (rows.values == -1).all()


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.LATE])
def test_an_unknown_publication_is_settled_by_flush(fault: Fault) -> None:
    with connect_with_faults(None, [fault]) as bank:
        with pytest.raises(carls.OutcomeUnknownError):
            bank.models.publish("m", {"w": ONES}, step=1)
        bank.flush()
        bank.models.publish("m", {"w": ONES}, step=2)
        assert [model.version for model in bank.models.list()] == [2]


def test_models_tell_of_a_restart_that_a_table_met() -> None:
    with connect_with_faults(None, [Fault.NONE, Fault.RESTART]) as bank:
        table = open_table(bank)
        bank.models.publish("m", {"w": ONES}, step=1)
        with pytest.raises(carls.BankRestartedError):
            table.push_gradients([1], ONES)
        with pytest.raises(carls.BankRestartedError, match="models are gone"):
            bank.models.latest("m")
        assert bank.models.latest("m") is None
        bank.models.publish("m", {"w": ONES}, step=1)
        model = bank.models.latest("m")
        assert model is not None
        assert model.version == 1


def test_what_is_no_answer_leaves_an_outcome_unknown() -> None:
    with connect_with_faults(None, [Fault.LOSE_REQUEST]) as bank:
        table = open_table(bank)
        with pytest.raises(carls.OutcomeUnknownError):
            table.push_gradients([1], ONES)
        call = bank._transport.call

        def full(request: Request, timeout_s: float) -> Reply:
            raise carls.LimitReachedError("too many streams")

        bank._transport.call = full  # type: ignore[method-assign]
        with pytest.raises(carls.DeadlineExceededError, match="too many streams"):
            table.flush()
        bank._transport.call = call  # type: ignore[method-assign]
        table.flush()
        assert table.lookup([1]).values.tolist() == [[-1.0, -1.0]]


def test_erased_rows_are_not_taken_from_what_was_fetched_ahead(bank: carls.Bank) -> None:
    table = open_table(bank)
    table.push_gradients([1], ONES)
    table.prefetch([1], create=False, fresh=True)
    table.erase([1])
    assert not table.lookup([1], create=False).found.any()


def test_a_closed_handle_gives_nothing_that_was_fetched_ahead(bank: carls.Bank) -> None:
    table = open_table(bank)
    table.prefetch([1])
    table.close()
    with pytest.raises(carls.ClosedError):
        table.lookup([1])


# --- restarts ---


class Replaced(LocalTransport):
    """A server that looks at the id which requests are meant for."""

    def __init__(self, engine: Engine, bank_id: str) -> None:
        self._engine = engine
        self.bank_id = bank_id

    def for_bank(self, bank_id: str) -> Replaced:
        return Replaced(self._engine, bank_id)

    def call(self, request: Request, timeout_s: float) -> Reply:
        if self.bank_id != self._engine.id and type(request).__name__ != "DescribeBank":
            raise carls.BankRestartedError("another bank")
        return self._engine.handle(request)


def replace_engine(bank: carls.Bank) -> Engine:
    """What a client sees when a server was restarted empty."""
    engine = Engine()
    bank._transport = Replaced(engine, bank._transport.bank_id)
    return engine


def test_every_handle_learns_of_a_restart_once(bank: carls.Bank) -> None:
    tables = [open_table(bank), open_table(bank), open_table(bank, "u")]
    for table in tables:
        table.push_gradients([1], ONES)
    replace_engine(bank)
    for table in tables:
        with pytest.raises(carls.BankRestartedError, match="gone"):
            table.lookup([1])
    for table in tables:
        assert table.lookup([7]).found.all()
        table.push_gradients([1], ONES)
    assert tables[0].lookup([1]).version.tolist() == [2]


def test_a_restart_that_a_prefetch_meets_is_told(bank: carls.Bank) -> None:
    table = open_table(bank)
    table.push_gradients([1], ONES)
    replace_engine(bank)
    table.prefetch([1])
    assert table._reader is not None
    table._reader.submit(int).result(10)  # the look-up before it has run when this has
    with pytest.raises(carls.BankRestartedError):
        table.lookup([5])
    assert table.lookup([1]).created.all()


def test_a_failed_reopening_is_tried_again(bank: carls.Bank) -> None:
    table = open_table(bank)
    engine = replace_engine(bank)
    handle = engine.handle

    def flaky(request: Request) -> Reply:
        if isinstance(request, OpenTable):
            raise carls.UnavailableError("gone again")
        return handle(request)

    engine.handle = flaky  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(carls.UnavailableError):
            table.lookup([1])
    engine.handle = handle  # type: ignore[method-assign]
    with pytest.raises(carls.BankRestartedError):
        table.lookup([1])
    assert table.lookup([1]).created.all()


def test_a_bank_without_handles_learns_of_a_restart() -> None:
    with BankProcess() as first:
        port = first.url.rsplit(":", 1)[1]
        bank = carls.connect(first.url)
        old = bank.id
    with BankProcess(("--port", port)), bank:
        with pytest.raises(carls.BankRestartedError):
            bank.tables()
        assert bank.tables() == []
        assert bank.id != old
        assert open_table(bank).lookup([1]).created.all()


def test_opening_a_table_needs_no_second_try_after_a_restart(bank: carls.Bank) -> None:
    replace_engine(bank)
    assert open_table(bank).lookup([1]).created.all()


def test_a_table_made_anew_with_another_width_is_an_error(bank: carls.Bank) -> None:
    table = bank.embeddings("t", dim=2)
    bank.drop("t")
    bank.embeddings("t", dim=5)
    with pytest.raises(carls.SpecMismatchError, match="dim 5"):
        table.lookup([1])


# --- arguments ---


@pytest.mark.parametrize("timeout_s", [float("nan"), 0, -1, "1", True, float("inf"), 1e9])
def test_timeouts_that_cannot_be(bank: carls.Bank, timeout_s: Any) -> None:
    table = open_table(bank)
    calls: list[Callable[[], Any]] = [
        lambda: table.lookup([1], timeout_s=timeout_s),
        lambda: table.push_gradients([1], ONES, timeout_s=timeout_s),
        lambda: table.flush(timeout_s=timeout_s),
        lambda: bank.models.publish("m", {"w": ONES}, step=1, timeout_s=timeout_s),
        lambda: carls.connect(timeout_s=timeout_s),
    ]
    for call in calls:
        with pytest.raises(carls.InvalidRequestError, match="timeout_s"):
            call()
    if timeout_s != 0:
        with pytest.raises(carls.InvalidRequestError, match="wait_s"):
            bank.models.latest("m", wait_s=timeout_s)
    assert len(table) == 0


@pytest.mark.parametrize(
    "url",
    ["", "foo", "grpc://[::1", "grpc://a b:1", "grpc://h:99999", "grpc://\ud800:1", 5, b"x", "http://x:1"],
)
def test_urls_that_cannot_be(url: Any) -> None:
    with pytest.raises(carls.InvalidRequestError):
        carls.connect(url, timeout_s=0.5)


@pytest.mark.parametrize("url", ["file:///x", "ray://x", "grpc+tls://x:1", "grpc://a:1,b:1"])
def test_urls_for_later(url: str) -> None:
    with pytest.raises(carls.NotInThisVersionError, match="not in this version"):
        carls.connect(url)


@pytest.mark.parametrize("producer", ["", "x" * 201, 5, "\ud800"])
def test_producers_that_cannot_be(producer: Any) -> None:
    with pytest.raises(carls.InvalidRequestError, match="producer"):
        carls.connect(producer=producer)


# --- the end ---


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )


def test_queued_writes_are_sent_when_the_program_ends() -> None:
    code = (
        "import sys, carls, numpy as np\n"
        "bank = carls.connect(sys.argv[1])\n"
        "t = bank.embeddings('t', dim=2, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())\n"
        "for _ in range(10): t.push_gradients_async([1], np.ones((1, 2), np.float32))\n"
    )
    with BankProcess() as server:
        run(code, server.url)
        with carls.connect(server.url) as bank:
            assert open_table(bank).lookup([1]).values.tolist() == [[-10.0, -10.0]]


def test_a_program_with_an_open_client_and_server_ends() -> None:
    run(
        "import carls\n"
        "from carls.bank import Engine\n"
        "from carls.service import BankServer\n"
        "with BankServer(Engine()) as server:\n"
        "    bank = carls.connect(server.url)\n"
        "    bank.embeddings('t', dim=2).lookup([1])\n"
    )


def test_closing_a_bank_that_hangs_takes_one_deadline() -> None:
    with BankProcess() as server:
        bank = carls.connect(server.url, timeout_s=1.0)
        tables = [open_table(bank, name) for name in "abcd"]
        for table in tables:
            table.lookup([1])
        server._process.send_signal(signal.SIGSTOP)
        for table in tables:
            table.push_gradients_async([1], ONES)

        def close() -> None:
            with pytest.raises(carls.CarlsError):
                bank.close()

        closing = threading.Thread(target=close)
        closing.start()
        closing.join(8)  # four tables at one second each, joins and the transport's own two would be more
        server._process.send_signal(signal.SIGCONT)
        assert not closing.is_alive()


def test_handles_that_round_differently_keep_streams_of_their_own() -> None:
    """A stream's replies are all alike: taking turns on one would open a new one at every turn."""
    with BankProcess() as server, carls.connect(server.url) as bank:
        exact = bank.embeddings("t", dim=2)
        narrow = bank.embeddings("t", dim=2, wire_dtype="float16")
        for _ in range(5):
            for table in (exact, narrow):
                assert table.lookup([1]).values.dtype == np.float32
        calls = [stream.calls for idle in bank._transport._pool._idle.values() for stream in idle]  # type: ignore[attr-defined]
        assert calls == [5, 5]


def test_a_pickled_handle_rounds_what_travels_as_before() -> None:
    with BankProcess() as server, carls.connect(server.url) as bank:
        narrow = bank.embeddings("t", dim=1, wire_dtype="float16")
        bank.embeddings("t", dim=1).assign([1], [[1 / 3]])
        copied = pickle.loads(pickle.dumps(narrow))
        with copied.bank:
            assert copied.wire_dtype == "float16"
            np.testing.assert_array_equal(copied.lookup([1]).values, np.float32(np.float16([[1 / 3]])))


def test_a_table_made_anew_with_another_dtype_is_told() -> None:
    with carls.connect() as bank:
        old = bank.embeddings("t", dim=2)
        bank.drop("t")
        bank.embeddings("t", dim=2, dtype="float16")
        with pytest.raises(carls.SpecMismatchError, match=r"float16 now.*float32"):
            old.lookup([1])
