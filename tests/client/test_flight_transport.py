"""The Flight transport: deadlines, attempts, errors."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pyarrow.flight as fl
import pytest

from carls import messages as m
from carls.bank import Engine
from carls.client.flight import FlightTransport
from carls.errors import (
    BankRestartedError,
    CarlsError,
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    LimitReachedError,
    OutcomeUnknownError,
    ProtocolError,
    UnavailableError,
    UnknownTableError,
)
from carls.keys import Keys
from carls.service import ServiceLimits
from carls.specs import EmbeddingSpec
from doubles import ASSIGN, KEYS, LOOKUP, WRITE, Held, ScriptedEngine, in_thread


def test_calls_are_answered(serve: Any, connect: Any) -> None:
    engine = ScriptedEngine()
    transport = connect(serve(engine).url)
    assert transport.call(LOOKUP, 10).values.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert transport.call(ASSIGN, 10) == m.Done()
    assert transport.call(m.DescribeBank(), 10).id == engine.id
    sent = [request for request in engine.seen if isinstance(request, m.Assign)]
    assert sent[0].keys == KEYS
    assert sent[0].write == WRITE


def test_calls_from_many_threads_are_answered_with_their_own_replies(serve: Any, connect: Any) -> None:
    def answer(request: Any) -> Any:
        values = np.array([[float(key)] for key in request.keys], np.float32)
        return m.RowBatch(values, np.zeros(len(values), m.ROW_META), ())

    transport = connect(serve(ScriptedEngine(Lookup=answer)).url)

    def check(seed: int) -> bool:
        keys = np.random.default_rng(seed).integers(0, 2**20, 50)
        request = LOOKUP._replace(keys=Keys.of(keys))
        return all(transport.call(request, 30).values[:, 0].tolist() == keys.tolist() for _ in range(20))

    threads = [in_thread(lambda seed=seed: check(seed)) for seed in range(8)]
    for thread, _ in threads:
        thread.join(60)
    assert [results for _, results in threads] == [[True]] * 8


def test_keys_of_several_types_and_widths_use_one_transport(serve: Any, connect: Any) -> None:
    engine = ScriptedEngine()
    transport = connect(serve(engine).url)
    for keys in (KEYS, Keys.of([1, 2]), Keys.of([b"x", b"y"]), KEYS):
        transport.call(LOOKUP._replace(keys=keys), 10)
        assert engine.seen[-1].keys == keys
    for dim in (3, 5, 3):
        transport.call(ASSIGN._replace(values=np.ones((2, dim), np.float32)), 10)
        assert engine.seen[-1].values.shape == (2, dim)


def test_a_table_made_anew_with_another_dim_is_read_on(serve: Any, connect: Any) -> None:
    dims = iter((3, 4, 4))

    def answer(_: Any) -> Any:
        return m.RowBatch(np.ones((2, next(dims)), np.float32), np.zeros(2, m.ROW_META), ())

    transport = connect(serve(ScriptedEngine(Lookup=answer)).url)
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)
    assert transport.call(LOOKUP, 10).values.shape == (2, 4)


# --- deadlines ------------------------------------------------------------------------------


def test_a_read_past_its_deadline_names_the_bank_the_table_and_the_limit(
    serve: Any, connect: Any, held: Held
) -> None:
    server = serve(ScriptedEngine(Lookup=held))
    transport = connect(server.url)
    named = r"Lookup on table 't' at grpc://.*within 0\.2 s"
    with pytest.raises(DeadlineExceededError, match=named) as raised:
        transport.call(LOOKUP, 0.2)
    assert not isinstance(raised.value, OutcomeUnknownError)
    assert raised.value.bank == server.url
    assert raised.value.table == "t"
    assert raised.value.details["timeout_s"] == 0.2
    held.let_go.set()
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)


def test_a_write_past_its_deadline_has_an_unknown_outcome(serve: Any, connect: Any, held: Held) -> None:
    transport = connect(serve(ScriptedEngine(Assign=held)).url)
    with pytest.raises(OutcomeUnknownError, match=r"may or may not .*repeats it .*safe"):
        transport.call(ASSIGN, 0.2)


def test_an_action_past_its_deadline(serve: Any, connect: Any, held: Held) -> None:
    transport = connect(serve(ScriptedEngine(ListTables=held)).url)
    with pytest.raises(DeadlineExceededError, match=r"ListTables at .*within 0\.2 s"):
        transport.call(m.ListTables(), 0.2)


def test_a_slow_call_does_not_delay_another(serve: Any, connect: Any, held: Held) -> None:
    transport = connect(serve(ScriptedEngine(Assign=held)).url)
    thread, results = in_thread(lambda: transport.call(ASSIGN, 30))
    assert held.entered.wait(20)
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)
    held.let_go.set()
    thread.join(20)
    assert results == [m.Done()]


# --- attempts -------------------------------------------------------------------------------


def test_a_broken_connection_is_mended(serve: Any, connect: Any, wire: Any) -> None:
    laid = wire(serve().url)
    transport = connect(laid.url)
    for _ in range(3):
        assert transport.call(LOOKUP, 20).values.shape == (2, 3)
        assert transport.call(m.DescribeBank(), 20).id
        laid.cut()
    assert transport.call(ASSIGN, 20) == m.Done()


def test_a_write_whose_reply_was_lost_is_repeated_under_the_same_id(
    serve: Any, connect: Any, wire: Any
) -> None:
    laid: Any = None
    cuts = [True, True]

    def lose(_: Any) -> Any:
        if cuts:
            cuts.pop()
            laid.cut()
        return m.Done()

    engine = ScriptedEngine(Assign=lose)
    laid = wire(serve(engine).url)
    assert connect(laid.url).call(ASSIGN, 20) == m.Done()
    writes = [request for request in engine.seen if isinstance(request, m.Assign)]
    assert len(writes) == 3
    assert {request.write for request in writes} == {WRITE}
    assert all(request.values.tolist() == ASSIGN.values.tolist() for request in writes)


def test_a_drop_whose_reply_was_lost_spares_the_table_that_was_made_meanwhile(
    serve: Any, connect: Any, wire: Any
) -> None:
    """The repeated drop is the one that was done, not another one."""
    engine, cuts, drops = Engine(), [True], []
    spec = EmbeddingSpec(dim=2).to_json()

    class Losing:
        id = engine.id

        def handle(self, request: Any) -> Any:
            if not isinstance(request, m.DropTable):
                return engine.handle(request)
            drops.append(request)
            reply = engine.handle(request)
            if cuts:
                cuts.pop()
                engine.handle(m.OpenTable("t", spec))
                laid.cut()
            return reply

    laid = wire(serve(Losing()).url)
    transport = connect(laid.url)
    transport.call(m.OpenTable("t", spec), 20)
    assert transport.call(m.DropTable("t", WRITE), 20) == m.Done()
    assert drops == [m.DropTable("t", WRITE)] * 2
    assert [table.name for table in transport.call(m.ListTables(), 20)] == ["t"]
    assert transport.call(m.DropTable("t", WRITE._replace(sequence=2)), 20) == m.Done()
    with pytest.raises(UnknownTableError):
        transport.call(m.DropTable("t", WRITE._replace(sequence=3)), 20)
    engine.close()


def test_a_server_that_comes_back_is_found(serve: Any, connect: Any) -> None:
    first = serve()
    transport = connect(first.url)
    transport.call(LOOKUP, 10)
    first.close()
    port = int(first.url.rpartition(":")[2])
    thread, results = in_thread(lambda: transport.call(ASSIGN, 30))
    serve(port=port)
    thread.join(40)
    assert results == [m.Done()]
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)


def test_another_bank_at_the_address_is_noticed_also_by_a_repeated_write(serve: Any, connect: Any) -> None:
    first = serve()
    transport = connect(first.url)
    transport.bank_id = transport.call(m.DescribeBank(), 10).id
    transport.call(ASSIGN, 10)
    first.close()
    engine = ScriptedEngine()
    engine.id = "e" * 32
    serve(engine, port=int(first.url.rpartition(":")[2]))
    for request in (ASSIGN, LOOKUP, m.ListTables()):
        with pytest.raises(BankRestartedError):
            transport.call(request, 20)
    transport.bank_id = transport.call(m.DescribeBank(), 20).id
    assert transport.call(ASSIGN, 20) == m.Done()


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [LOOKUP, ASSIGN, m.ListTables()], ids=lambda r: type(r).__name__)
def test_an_unreachable_bank_is_named_with_the_remedy(connect: Any, request_: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    transport = connect(f"grpc://127.0.0.1:{port}")
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port}.*is `carls serve` running there\?"):
        transport.call(request_, 0.3)


@pytest.mark.parametrize("request_", [LOOKUP, ASSIGN, m.ListTables()], ids=lambda r: type(r).__name__)
def test_a_listener_that_never_answers_meets_the_deadline(connect: Any, request_: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        transport = connect(f"grpc://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises((DeadlineExceededError, UnavailableError)) as raised:
            transport.call(request_, 0.3)
        assert not isinstance(raised.value, OutcomeUnknownError)
        transport.close()


@pytest.mark.parametrize("error", [UnknownTableError, InternalError, LimitReachedError])
def test_an_error_of_the_bank_is_raised_at_once(serve: Any, connect: Any, error: type[CarlsError]) -> None:
    def fail(_: Any) -> Any:
        raise error("what was wrong", table="t", details={"x": 1})

    engine = ScriptedEngine(Lookup=fail)
    transport = connect(serve(engine).url)
    with pytest.raises(error, match="what was wrong") as raised:
        transport.call(LOOKUP, 10)
    assert raised.value.details == {"x": 1}
    assert sum(isinstance(request, m.Lookup) for request in engine.seen) == 1
    engine.answers.clear()
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)


def test_the_cap_on_streams_is_named(serve: Any, connect: Any, held: Held) -> None:
    server = serve(ScriptedEngine(Assign=held), limits=ServiceLimits(streams=1))
    transport = connect(server.url)
    thread, results = in_thread(lambda: transport.call(ASSIGN, 30))
    assert held.entered.wait(20)
    with pytest.raises(LimitReachedError, match="1 streams"):
        transport.call(LOOKUP, 10)
    held.let_go.set()
    thread.join(20)
    assert results == [m.Done()]


def test_idle_streams_make_room_for_new_ones(serve: Any, connect: Any) -> None:
    transport = connect(serve(limits=ServiceLimits(streams=2)).url)
    for table in ("a", "b", "c", "d"):
        assert transport.call(LOOKUP._replace(table=table), 20).values.shape == (2, 3)


def test_another_kind_of_server_is_recognised(connect: Any) -> None:
    with fl.FlightServerBase("grpc://127.0.0.1:0") as server:
        transport = connect(f"grpc://127.0.0.1:{server.port}")
        for request in (m.DescribeBank(), LOOKUP):
            with pytest.raises(ProtocolError, match="does not answer as a bank"):
                transport.call(request, 10)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:7070",
        "http://x",
        "grpc://",
        "grpc://h:port",
        "grpc://h:99999",
        "grpc+unix://host/p",
        "grpc://h/p",
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected grpc://host:port"):
        FlightTransport(url)


def test_a_unix_socket(serve: Any, connect: Any, tmp_path: Any) -> None:
    transport = connect(serve(unix=str(tmp_path / "bank.sock")).url)
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)
