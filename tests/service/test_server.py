"""A server's address and its end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from carls import messages as m
from carls.errors import CarlsError, InvalidRequestError, InvalidSpecError, UnavailableError
from carls.service import BankServer, ServiceLimits
from carls.service.addresses import is_loopback
from carls.wire.failures import from_flight
from carls.wire.frames import Command
from doubles import ScriptedEngine, action_body

FACTS = b'{"create":true,"bound":[null,null,null],"known_producers":0,"reader":"me","dtype":"float32"}'
KEYS = pa.record_batch([pa.array([1, 2, 3])], names=["keys"])
DESCRIBE = fl.Action("describe_bank", action_body())


def reachable(client: Any) -> bool:
    try:
        return bool(list(client.do_action(DESCRIBE, fl.FlightCallOptions(timeout=5.0))))
    except (pa.ArrowException, OSError):
        return False


def test_a_port_in_use_is_named_with_the_remedy(serve: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port} is in use: .*--port"):
            serve(port=port)
    assert serve(port=port).url == f"grpc://127.0.0.1:{port}"


def test_two_servers_cannot_share_a_port(serve: Any) -> None:
    port = int(serve().url.rpartition(":")[2])
    with pytest.raises(UnavailableError, match="in use"):
        serve(port=port)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"port": 70_000}, InvalidRequestError),
        ({"port": -1}, InvalidRequestError),
        ({"host": "no such host."}, InvalidRequestError),
        ({"host": "192.0.2.1"}, UnavailableError),
        ({"unix": "relative.sock"}, InvalidRequestError),
        ({"unix": "/" + "long" * 40}, InvalidRequestError),
        ({"unix": "/no/such/folder/socket"}, InvalidRequestError),
        ({"unix": __file__}, UnavailableError),
    ],
)
def test_an_address_that_cannot_be_is_refused(options: dict[str, Any], error: type[CarlsError]) -> None:
    with pytest.raises(error):
        BankServer(ScriptedEngine(), **options)
    assert Path(__file__).exists()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("::", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_unix_socket_is_private_and_goes_with_the_server(serve: Any, connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "bank.sock"
    server = serve(unix=str(path))
    assert server.url == f"grpc+unix://{path}"
    assert path.stat().st_mode & 0o077 == 0
    client = connect(server)
    assert reachable(client)
    with pytest.raises(UnavailableError, match="in use"):
        serve(unix=str(path))
    assert reachable(client)
    client.close()
    server.close()
    assert not path.exists()


def test_a_unix_socket_of_a_dead_server_is_replaced(serve: Any, connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "bank.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert reachable(connect(serve(unix=str(path))))


@pytest.mark.parametrize(
    "limits", [{"request_bytes": 0}, {"streams": -1}, {"actions": True}, {"streams": 1.5}]
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=next(iter(limits))):
        ServiceLimits(**limits)


def test_close_answers_calls_under_way_and_refuses_new_ones(serve: Any, connect: Any) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(request: Any) -> Any:
        entered.set()
        assert leave.wait(20)
        return ScriptedEngine.plain(request)

    server = serve(ScriptedEngine(Lookup=slow))
    client = connect(server)
    writer, reader = client.do_exchange(fl.FlightDescriptor.for_command(Command("lookup", "t", "").dump()))
    writer.begin(KEYS.schema)
    writer.write_with_metadata(KEYS, FACTS)
    assert entered.wait(20)
    closed: list[bool] = []
    closing = threading.Thread(target=lambda: closed.append(server.close(20)))
    closing.start()
    refused = None
    while refused is None:  # until the server has begun to close
        try:
            list(client.do_action(DESCRIBE, fl.FlightCallOptions(timeout=5.0)))
        except fl.FlightError as error:
            refused = from_flight(error)
    assert type(refused) is UnavailableError
    leave.set()
    assert reader.read_chunk().data.num_rows == 3
    with contextlib.suppress(fl.FlightError):
        writer.write_with_metadata(KEYS, FACTS)
    with pytest.raises((fl.FlightError, StopIteration)):
        reader.read_chunk()
    closing.join(20)
    assert closed == [True]
    reader.cancel()


def test_close_is_bounded_though_a_call_never_ends(serve: Any, connect: Any) -> None:
    entered, leave = threading.Event(), threading.Event()

    def stuck(_: Any) -> Any:
        entered.set()
        leave.wait(60)
        return m.Done()

    server = serve(ScriptedEngine(DropTable=stuck))
    client = connect(server)
    drop = fl.Action("drop_table", action_body(table="t", write=["c", 1, True]))

    def call() -> None:
        with contextlib.suppress(pa.ArrowException, OSError):
            list(client.do_action(drop, fl.FlightCallOptions(timeout=10.0)))

    calling = threading.Thread(target=call)
    calling.start()
    assert entered.wait(20)
    begun = time.monotonic()
    assert server.close(0.2) is False
    assert time.monotonic() - begun < 30  # the call holds for a minute
    assert server.close(0.2) is True
    leave.set()
    calling.join(20)
    assert not calling.is_alive()


def knows_nothing(_: Any) -> m.KnowledgeInfo:
    return m.KnowledgeInfo(-1, 0, 0, "", 0.0)


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("latest_model", {"model": "m", "newer_than": None, "after": None}),
        ("latest_knowledge", {"table": "t", "at_least": 3}),
    ],
)
def test_long_waits_are_cut_into_pieces(serve: Any, connect: Any, action: str, asked: Any) -> None:
    engine = ScriptedEngine(LatestKnowledge=knows_nothing)
    body = action_body(**asked, wait_s=1e9)
    list(connect(serve(engine)).do_action(fl.Action(action, body)))
    assert engine.seen[-1].wait_s <= 1.0
