"""Streams as a plain Flight client opens them, for tests of what the server answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from carls.errors import CarlsError
from carls.wire.failures import from_flight
from carls.wire.frames import Command

FACTS = b'{"create":true,"bound":[null,null,null],"known_producers":0,"reader":"me","dtype":"float32"}'
KEYS = pa.record_batch([pa.array([1, 2, 3])], names=["keys"])


@contextlib.contextmanager
def stream(client: Any, command: bytes) -> Iterator[tuple[Any, Any]]:
    writer, reader = client.do_exchange(fl.FlightDescriptor.for_command(command))
    try:
        yield writer, reader
    finally:
        reader.cancel()
        with contextlib.suppress(pa.ArrowException, OSError):
            writer.close()


def ask(client: Any, batch: pa.RecordBatch, facts: bytes | None, operation: str = "lookup") -> Any:
    """One request on a stream of its own."""
    with stream(client, Command(operation, "t", "").dump()) as (writer, reader):
        writer.begin(batch.schema)
        if facts is None:
            writer.write_batch(batch)
        else:
            writer.write_with_metadata(batch, facts)
        return reader.read_chunk()


def refusal(call: Callable[[], Any]) -> CarlsError:
    with pytest.raises((fl.FlightError, pa.ArrowException, OSError)) as raised:
        call()
    assert "Traceback" not in str(raised.value)
    assert ".py" not in str(raised.value)
    told = from_flight(raised.value)
    assert told is not None, raised.value
    return told
