"""How a Flight transport ends: closed, idle, forked."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from typing import Any

import pytest

from carls.client.flight import FlightTransport
from carls.errors import (
    ClosedError,
    ForkedError,
    LimitReachedError,
)
from carls.service import ServiceLimits
from doubles import LOOKUP, Held, ScriptedEngine, in_thread


def test_a_closed_transport_says_so_and_can_be_closed_again(serve: Any, connect: Any) -> None:
    transport = connect(serve().url)
    transport.call(LOOKUP, 10)
    transport.close()
    transport.close()
    with pytest.raises(ClosedError, match="connect again"):
        transport.call(LOOKUP, 10)


def test_close_breaks_calls_under_way_and_leaves_no_thread(serve: Any, connect: Any, held: Held) -> None:
    server = serve(ScriptedEngine(Lookup=held))
    transport = connect(server.url)
    thread, results = in_thread(lambda: transport.call(LOOKUP, 60))
    assert held.entered.wait(20)
    transport.close()
    thread.join(20)
    assert isinstance(results[0], ClosedError)
    assert not [t for t in threading.enumerate() if server.url in t.name]


def test_close_breaks_a_call_that_is_between_attempts(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    transport = connect(f"grpc://127.0.0.1:{port}")
    thread, results = in_thread(lambda: transport.call(LOOKUP, 600))
    transport.close()
    thread.join(20)
    assert isinstance(results[0], ClosedError)


def test_idle_streams_are_closed(serve: Any, connect: Any) -> None:
    server = serve(limits=ServiceLimits(streams=1))
    transport = connect(server.url, idle_s=0.05)
    other = connect(server.url)
    transport.call(LOOKUP, 10)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            other.call(LOOKUP, 10)  # needs the only stream
            break
        except LimitReachedError:
            pass
    else:
        pytest.fail("the idle stream stayed open")


def fork_and_call(transport: FlightTransport, answers: Any) -> None:
    try:
        transport.call(LOOKUP, 5)
    except ForkedError as error:
        answers.send(str(error))
    transport.close()
    answers.close()
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_use_after_a_fork_raises_and_names_spawn(serve: Any, connect: Any) -> None:
    transport = connect(serve().url)
    transport.call(LOOKUP, 10)
    fork = multiprocessing.get_context("fork")
    near, far = fork.Pipe(duplex=False)
    child = fork.Process(target=fork_and_call, args=(transport, far))
    child.start()
    far.close()
    assert near.poll(30)
    assert "spawn" in near.recv()
    child.join(30)
    assert child.exitcode == 0
    assert transport.call(LOOKUP, 10).values.shape == (2, 3)
