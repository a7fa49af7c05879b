"""Whatever a client sends, the server refuses it clearly and stays up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carls import messages as m
from carls.errors import (
    CarlsError,
    InternalError,
    ProtocolError,
)
from carls.keys import Keys
from carls.wire.failures import from_flight
from carls.wire.streamed import STREAMED
from doubles import ScriptedEngine
from plain_streams import FACTS, KEYS, ask, refusal

COLUMN = st.sampled_from(
    [
        pa.array([1, 2]),
        pa.array([1, None]),
        pa.array(["a", "b"]),
        pa.array([b"\xff", b""]),
        pa.array(["a", None]),
        pa.array([1.5, 2.5], pa.float32()),
        pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        pa.array([[1.0, None], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        pa.array([[], []], pa.list_(pa.float32(), 0)),
        pa.array([["a"], [None]]),
        pa.array(["a", "a"]).dictionary_encode(),
        pa.array([{"a": 1}, {"a": None}]),
        pa.array([{"a": 1, "b": ["x"]}, {"a": 2, "b": []}]),
        pa.nulls(2),
    ]
)
BATCH = st.lists(
    st.tuples(st.sampled_from(["keys", "values", "gradients", "columns", "data", "x"]), COLUMN), max_size=3
).map(lambda columns: pa.RecordBatch.from_arrays([c for _, c in columns], names=[n for n, _ in columns]))
JSON = st.sampled_from([FACTS, FACTS[:-1], b"", b"[]", b"{}", b"\xff", b'{"create":1}']) | st.binary(
    max_size=20
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from([op.name for op in STREAMED.values()]),
    batch=BATCH,
    facts=st.none() | JSON | st.binary(max_size=20),
)
def test_forged_batches_are_refused_and_the_server_stays_up(
    forge_client: Any, operation: str, batch: pa.RecordBatch, facts: bytes | None
) -> None:
    told: CarlsError | None = None
    try:
        ask(forge_client, batch, facts, operation)
    except (fl.FlightError, pa.ArrowException, OSError) as error:
        told = from_flight(error) or InternalError(str(error))
    assert told is None or type(told) is ProtocolError
    assert told is None or "expected" in told.message
    assert ask(forge_client, KEYS, FACTS).data.num_rows == 3


@pytest.fixture
def forge_client(serve: Any, connect: Any) -> Any:
    empty = pa.record_batch([pa.array([1])], names=["a"])

    def features(request: Any) -> Any:
        n = len(request.keys.tolist())
        return m.FeatureBatch(empty.take(pa.array([0] * n)), np.zeros(n, m.ROW_META), ())

    def page(_: Any) -> Any:
        rows = m.RowBatch(np.ones((0, 3), np.float32), np.zeros(0, m.ROW_META), ())
        return m.ScanPage(None, rows, -1)

    def feature_page(_: Any) -> Any:
        return m.FeaturePage(None, m.FeatureBatch(empty.slice(0, 0), np.zeros(0, m.ROW_META), ()), -1)

    def clusters(request: Any) -> Any:
        points = np.asarray(request.points, np.float32)
        return m.MemoryBatch(np.zeros(len(points), np.int64), points, points, points[:, 0])

    def content(_: Any) -> Any:
        return m.MemoryContent(np.ones((1, 3), np.float32), np.zeros(1, np.int64), m.MemoryCounts(1, 1, 0, 0))

    return connect(
        serve(
            ScriptedEngine(
                ReadMemory=clusters,
                AbsorbPoints=clusters,
                ExportMemory=content,
                FetchTaskModels=lambda _: m.TaskModels(("a",), np.ones((3, 1))),
                FetchTaskHistory=lambda _: m.TaskHistory.of([]),
                FeatureLookup=features,
                Scan=page,
                Export=page,
                FeatureScan=feature_page,
                Sample=lambda _: m.SampleBatch(Keys.of([1]), None, np.ones(1, np.float32), np.ones(1, bool)),
                FetchModel=lambda _: m.ModelPart(b"x"),
            )
        )
    )


def offsets_changed_after_check(wrong: list[int]) -> pa.RecordBatch:
    offsets = np.array([0, 1, 3], np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"abc")]
    batch = pa.record_batch([pa.Array.from_buffers(pa.string(), 2, buffers)], names=["keys"])
    offsets[:] = wrong
    return batch


@pytest.mark.parametrize("wrong", [[0, 99, 3], [0, 3, 1], [0, -1, 3], [0, 1, 2**31 - 1]])
def test_forged_offsets_are_refused(serve: Any, connect: Any, wrong: list[int]) -> None:
    engine = ScriptedEngine()
    client = connect(serve(engine))
    told = refusal(lambda: ask(client, offsets_changed_after_check(wrong), FACTS))
    assert type(told) is ProtocolError
    assert "forged batch" in told.message
    assert engine.seen == []
    assert ask(client, KEYS, FACTS).data.num_rows == 3


def test_invalid_utf8_is_refused(serve: Any, connect: Any) -> None:
    client = connect(serve())
    data = np.frombuffer(b"ab", np.uint8).copy()
    buffers = [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(data)]
    batch = pa.record_batch([pa.Array.from_buffers(pa.string(), 1, buffers)], names=["keys"])
    data[:] = 0xFF
    assert "UTF-8" in refusal(lambda: ask(client, batch, FACTS)).message


def test_no_rows_reach_the_engine_as_no_keys(serve: Any, connect: Any) -> None:
    engine = ScriptedEngine()
    client = connect(serve(engine))
    for batch in (KEYS.slice(0, 0), pa.record_batch([pa.array([], pa.string())], names=["keys"])):
        ask(client, batch, FACTS)
        request = engine.seen.pop()
        assert isinstance(request.keys, Keys)
        assert len(request.keys) == 0
