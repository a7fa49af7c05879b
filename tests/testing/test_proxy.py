"""The proxy that breaks connections, and banks behind it that are written to all the same."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from careful import NOTHING_DONE, Operation, Trainer, operations
from carls.service.process import BankProcess
from carls.testing import Direction, FaultyProxy
from doubles import in_thread

DOCUMENTED = (*NOTHING_DONE, carls.OutcomeUnknownError)
ONE = np.ones((1, 1), np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[BankProcess]:
    # So few streams that those of broken connections must be given back.
    with BankProcess(("--port", "0", "--max-streams", "12")) as process:
        yield process


@pytest.fixture
def proxy(server: BankProcess) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.url) as between:
        yield between
    assert not [thread for thread in threading.enumerate() if between.url in thread.name]


@pytest.fixture
def bank(proxy: FaultyProxy) -> Iterator[carls.Bank]:
    bank = carls.connect(proxy.url, timeout_s=60.0)
    yield bank
    proxy.heal()
    bank.close()


def open_table(bank: carls.Bank) -> carls.EmbeddingTable:
    return bank.embeddings(
        f"t{os.urandom(4).hex()}", dim=1, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros()
    )


# --- the proxy itself, before a server that sends back what it gets ---


@pytest.fixture
def echo() -> Iterator[FaultyProxy]:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(end: socket.socket) -> None:
        with end:
            try:
                while piece := end.recv(65536):
                    end.sendall(piece)
            except OSError:
                return

    def accept() -> None:
        with ThreadPoolExecutor(4) as pool:
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                pool.submit(answer, end)

    thread = threading.Thread(target=accept)
    thread.start()
    with FaultyProxy(f"grpc://127.0.0.1:{listener.getsockname()[1]}") as between:
        yield between
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)
    assert not thread.is_alive()


def dial(proxy: FaultyProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), 10)


def read(end: socket.socket, nbytes: int) -> bytes:
    """So many bytes, or fewer where the connection ends before."""
    got = b""
    while len(got) < nbytes:
        try:
            piece = end.recv(nbytes - len(got))
        except ConnectionError:
            break
        if not piece:
            break
        got += piece
    return got


def test_bytes_are_relayed(echo: FaultyProxy) -> None:
    sent = random.Random(0).randbytes(1_000_000)
    with dial(echo) as near, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(near.sendall, sent)
        assert read(near, len(sent)) == sent
        sending.result(10)
    assert echo.connections == 1


@pytest.mark.parametrize("direction", list(Direction))
def test_connections_are_cut_after_so_many_bytes(echo: FaultyProxy, direction: Direction) -> None:
    with dial(echo) as near, dial(echo) as other:
        near.sendall(b"ab")
        assert read(near, 2) == b"ab"
        echo.cut_after(direction, 3)
        near.sendall(b"abcdef")
        assert b"abc".startswith(read(near, 6))
        assert read(other, 1) == b""
    with dial(echo) as near:
        near.sendall(b"abcdef")
        assert read(near, 6) == b"abcdef"


@pytest.mark.parametrize("direction", list(Direction))
def test_a_stalled_direction_holds_bytes_back_until_it_is_healed(
    echo: FaultyProxy, direction: Direction
) -> None:
    with dial(echo) as near:
        echo.stall(direction, 2)
        near.sendall(b"abcdef")
        assert read(near, 2) == b"ab"
        near.settimeout(0.05)
        with pytest.raises(TimeoutError):
            near.recv(1)
        near.settimeout(10)
        echo.heal()
        assert read(near, 4) == b"cdef"


def test_connections_are_refused_until_healed(echo: FaultyProxy) -> None:
    with dial(echo) as old:
        old.sendall(b"x")
        assert read(old, 1) == b"x"
        echo.refuse()
        # Whether the reset comes before or after connecting is for the system to say.
        with contextlib.suppress(ConnectionError), dial(echo) as near:
            assert read(near, 1) == b""
        old.sendall(b"x")
        assert read(old, 1) == b"x"
        echo.heal()
    with dial(echo) as near:
        near.sendall(b"x")
        assert read(near, 1) == b"x"


def test_urls_and_counts_that_cannot_be(echo: FaultyProxy) -> None:
    for url in ("", "grpc+unix:///tmp/x", "127.0.0.1:7070"):
        with pytest.raises(carls.InvalidRequestError, match="expected grpc://host:port"):
            FaultyProxy(url)
    with pytest.raises(carls.InvalidRequestError, match="1 or more"):
        echo.cut_after(Direction.TO_BANK, 0)
    with pytest.raises(carls.InvalidRequestError, match="0 or more"):
        echo.stall(Direction.TO_BANK, -1)


# --- a bank behind it ---

CUT = st.tuples(st.sampled_from(list(Direction)), st.integers(1, 3000))


def train(url: str, writes: list[Operation], cuts: list[tuple[Direction, int]]) -> None:
    """A careful user's writes, each with a cut on its way."""
    before = set(threading.enumerate())
    with FaultyProxy(url) as between:
        with carls.connect(between.url, producer="tester", timeout_s=10.0) as bank:
            trainer = Trainer(bank, 1 + int.from_bytes(os.urandom(4), "big"))
            for at, operation in enumerate(writes):
                if at < len(cuts):
                    between.cut_after(*cuts[at])
                trainer.do(operation)
            between.heal()
            trainer.settle()
            trainer.check()
    assert set(threading.enumerate()) <= before


@given(operations(8), st.lists(CUT, max_size=12))
@settings(deadline=None, max_examples=12)
def test_writes_are_applied_once_though_connections_are_cut(
    server: BankProcess, writes: list[Operation], cuts: list[tuple[Direction, int]]
) -> None:
    train(server.url, writes, cuts)


@pytest.mark.slow
@pytest.mark.timeout(900)
@given(operations(40), st.lists(CUT, max_size=40))
@settings(deadline=None, max_examples=150)
def test_many_writes_are_applied_once_though_connections_are_cut(
    server: BankProcess, writes: list[Operation], cuts: list[tuple[Direction, int]]
) -> None:
    train(server.url, writes, cuts)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("nbytes", [0, 30, 60])
def test_calls_end_at_their_deadline_though_no_byte_passes(
    proxy: FaultyProxy, bank: carls.Bank, direction: Direction, nbytes: int
) -> None:
    table = open_table(bank)
    table.push_gradients([1], ONE)
    proxy.stall(direction, nbytes)
    failed = 0
    for _ in range(3):
        began = time.monotonic()
        try:
            table.push_gradients([1], ONE, timeout_s=0.2)
        except carls.DeadlineExceededError:
            failed += 1
        # Not how fast it is, but that it ends by its own deadline: the bank's is a minute.
        assert time.monotonic() - began < 30
    assert failed
    proxy.heal()
    table.flush(5)
    # Of those that failed, the first was kept, and the others were not sent.
    assert table.lookup([1]).version.tolist() == [1 + 3 - failed + 1]


def test_a_large_write_that_stalls_on_its_way_is_applied_once(proxy: FaultyProxy, bank: carls.Bank) -> None:
    """More than the buffers on the way hold: gRPC gives up on it only when bytes move again."""
    table = bank.embeddings(f"t{os.urandom(4).hex()}", dim=1024, initializer=carls.Zeros())
    values = np.ones((3000, 1024), np.float32)
    table.assign([1], values[:1])
    proxy.stall(Direction.TO_BANK, 100_000)
    thread, results = in_thread(lambda: table.assign(np.arange(3000), values, timeout_s=0.3))
    thread.join(1.0)
    proxy.heal()
    thread.join(30)
    assert isinstance(results[0], carls.OutcomeUnknownError)
    table.flush(10)
    assert table.lookup(np.arange(3000), create=False).found.all()
    assert table.lookup([1, 2]).version.tolist() == [2, 1]


def test_a_bank_that_refuses_connections_is_found_when_it_takes_them_again(
    proxy: FaultyProxy, bank: carls.Bank
) -> None:
    table = open_table(bank)
    table.push_gradients([1], ONE)
    proxy.refuse()
    proxy.cut()
    with pytest.raises(DOCUMENTED):
        table.push_gradients([1], ONE, timeout_s=0.2)
    proxy.heal()
    table.flush()
    table.push_gradients([1], ONE)
    assert table.lookup([1]).version[0] in (2, 3)


def test_streams_of_broken_connections_are_given_back(proxy: FaultyProxy, bank: carls.Bank) -> None:
    """The server has 12 streams; each round opens two."""
    table = open_table(bank)
    for _ in range(12):
        table.push_gradients([1], ONE)
        table.lookup([1])
        proxy.cut()
    assert table.lookup([1]).version.tolist() == [12]


def test_queued_writes_survive_cuts(proxy: FaultyProxy, bank: carls.Bank) -> None:
    table = open_table(bank)
    for at in range(200):
        table.push_gradients_async([1], ONE)
        if at % 25 == 0:
            proxy.cut()
    table.flush()
    rows = table.lookup([1])
    assert rows.values.tolist() == [[-200.0]]
    assert rows.version.tolist() == [200]


def test_a_killed_server_is_told_once_and_the_new_one_gets_nothing_twice() -> None:
    first = BankProcess()
    port = first.url.rpartition(":")[2]
    try:
        with FaultyProxy(first.url) as between, carls.connect(between.url, timeout_s=10.0) as bank:
            table = open_table(bank)
            for _ in range(3):
                table.push_gradients([1], ONE)
            # Its reply is lost, so that it is kept.
            between.stall(Direction.TO_CLIENT)
            with pytest.raises(carls.OutcomeUnknownError):
                table.push_gradients([1], ONE, timeout_s=0.2)
            first.kill()
            between.heal()
            with BankProcess(("--port", port)):
                with pytest.raises(carls.BankRestartedError):
                    table.push_gradients([1], ONE)
                table.flush()
                assert len(table) == 0
                for _ in range(2):
                    table.push_gradients([1], ONE)
                assert table.lookup([1]).version.tolist() == [2]
                assert table.lookup([1]).values.tolist() == [[-2.0]]
    finally:
        first.kill()
