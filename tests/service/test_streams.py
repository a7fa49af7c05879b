"""What the server answers to streams and actions, seen by a plain Flight client."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from carls import messages as m
from carls.errors import (
    BankRestartedError,
    InternalError,
    LimitReachedError,
    ProtocolError,
    RequestTooLargeError,
    SpecMismatchError,
    UnavailableError,
)
from carls.service import ServiceLimits
from carls.wire.frames import Command
from doubles import ScriptedEngine, action_body
from plain_streams import FACTS, KEYS, ask, refusal, stream


def test_one_stream_carries_many_requests(serve: Any, connect: Any) -> None:
    client = connect(serve())
    with stream(client, Command("lookup", "t", "").dump()) as (writer, reader):
        writer.begin(KEYS.schema)
        for n in (1, 2, 3, 1):
            writer.write_with_metadata(KEYS.slice(0, n), FACTS)
            assert reader.read_chunk().data.num_rows == n


def test_an_error_arrives_as_it_was_raised_and_is_logged(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error = SpecMismatchError("dim=3, expected 4: ä", bank="b", table="t", details={"ours": {"dim": 4}})

    def fail(_: Any) -> Any:
        raise error

    client = connect(serve(ScriptedEngine(Lookup=fail, DescribeBank=fail)))
    with caplog.at_level(logging.INFO, "carls.service"):
        told = refusal(lambda: ask(client, KEYS, FACTS))
        assert (type(told), told.to_json()) == (SpecMismatchError, error.to_json())
        told = refusal(lambda: list(client.do_action(fl.Action("describe_bank", action_body()))))
        assert told.to_json() == error.to_json()
    assert sum("dim=3, expected 4" in record.getMessage() for record in caplog.records) == 2


def test_a_fault_of_the_bank_shows_nothing_of_its_inside(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> Any:
        raise ZeroDivisionError("the secret")

    client = connect(serve(ScriptedEngine(Lookup=fail, ListTables=fail)))
    for call in (
        lambda: ask(client, KEYS, FACTS),
        lambda: list(client.do_action(fl.Action("list_tables", action_body()))),
    ):
        told = refusal(call)
        assert type(told) is InternalError
        assert "secret" not in json.dumps(told.to_json())
    assert caplog.text.count("ZeroDivisionError: the secret") == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda c: list(c.list_flights()),
        lambda c: c.get_flight_info(fl.FlightDescriptor.for_path("x")),
        lambda c: c.do_get(fl.Ticket(b"x")).read_all(),
        lambda c: c.do_put(fl.FlightDescriptor.for_path("x"), KEYS.schema)[0].close(),
        lambda c: list(c.do_action(fl.Action("no such", b"{}"))),
        lambda c: list(c.do_action(fl.Action("list_tables", b"junk"))),
        lambda c: list(c.do_action(fl.Action("list_tables", b'{"protocol":2}'))),
        lambda c: list(c.do_action(fl.Action("open_table", action_body(table=5, spec={})))),
        lambda c: c.do_exchange(fl.FlightDescriptor.for_path("x"))[1].read_chunk(),
        lambda c: c.do_exchange(fl.FlightDescriptor.for_command(b"x"))[1].read_chunk(),
        lambda c: c.do_exchange(fl.FlightDescriptor.for_command(Command("fly", "t", "").dump()))[
            1
        ].read_chunk(),
    ],
)
def test_what_is_not_spoken_is_refused(serve: Any, connect: Any, call: Any) -> None:
    client = connect(serve())
    assert type(refusal(lambda: call(client))) is ProtocolError
    assert ask(client, KEYS, FACTS).data.num_rows == 3


def test_a_refused_get_schema_shows_no_traceback(serve: Any, connect: Any) -> None:
    # pyarrow's own client drops the extra_info of this one.
    with pytest.raises(OSError, match="ProtocolError") as raised:
        connect(serve()).get_schema(fl.FlightDescriptor.for_path("x"))
    assert "Traceback" not in str(raised.value)


def test_a_request_for_another_bank_is_refused_and_both_are_named(serve: Any, connect: Any) -> None:
    engine = ScriptedEngine()
    client = connect(serve(engine))
    opened = fl.FlightDescriptor.for_command(Command("lookup", "t", "e" * 32).dump())
    for call in (
        lambda: client.do_exchange(opened)[1].read_chunk(),
        lambda: list(client.do_action(fl.Action("list_tables", action_body("e" * 32)))),
    ):
        told = refusal(call)
        assert type(told) is BankRestartedError
        assert told.bank == engine.id
        assert "e" * 32 in told.message
    assert engine.seen == []
    assert list(client.do_action(fl.Action("describe_bank", action_body("e" * 32))))
    assert list(client.do_action(fl.Action("list_models", action_body(engine.id))))


def test_actions_are_listed(serve: Any, connect: Any) -> None:
    assert {action.type for action in connect(serve()).list_actions()} >= {"open_table", "describe_bank"}


def test_a_request_over_the_limit_is_refused_and_both_sizes_are_named(serve: Any, connect: Any) -> None:
    engine = ScriptedEngine()
    client = connect(serve(engine, limits=ServiceLimits(request_bytes=10_000)))
    big = pa.record_batch([pa.array(np.arange(2000))], names=["keys"])
    told = refusal(lambda: ask(client, big, FACTS))
    assert type(told) is RequestTooLargeError
    assert "10000 bytes" in told.message
    assert told.details["limit"] == 10_000
    assert str(told.details["size"]) in told.message
    assert type(refusal(lambda: ask(client, KEYS, b" " * 20_000 + FACTS))) is RequestTooLargeError
    body = action_body() + b" " * 20_000
    assert (
        type(refusal(lambda: list(client.do_action(fl.Action("list_tables", body))))) is RequestTooLargeError
    )
    assert engine.seen == []
    assert ask(client, KEYS, FACTS).data.num_rows == 3


def test_streams_over_the_cap_are_refused_and_the_cap_is_named(serve: Any, connect: Any) -> None:
    client = connect(serve(limits=ServiceLimits(streams=2)))
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            writer, reader = stack.enter_context(stream(client, Command("lookup", "t", "").dump()))
            writer.begin(KEYS.schema)
            writer.write_with_metadata(KEYS, FACTS)
            assert reader.read_chunk().data.num_rows == 3
        told = refusal(lambda: ask(client, KEYS, FACTS))
        assert type(told) is LimitReachedError
        assert "2 streams" in told.message
        writer.done_writing()
        with pytest.raises(StopIteration):
            reader.read_chunk()
        assert ask(client, KEYS, FACTS).data.num_rows == 3


def test_a_stream_whose_columns_change_is_ended_as_unavailable(serve: Any, connect: Any) -> None:
    dims = iter((3, 4))

    def answer(_: Any) -> Any:
        return m.RowBatch(np.ones((3, next(dims)), np.float32), np.zeros(3, m.ROW_META), ())

    client = connect(serve(ScriptedEngine(Lookup=answer)))
    with stream(client, Command("lookup", "t", "").dump()) as (writer, reader):
        writer.begin(KEYS.schema)
        writer.write_with_metadata(KEYS, FACTS)
        reader.read_chunk()
        writer.write_with_metadata(KEYS, FACTS)
        assert type(refusal(reader.read_chunk)) is UnavailableError
