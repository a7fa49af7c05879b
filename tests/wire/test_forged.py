"""Whatever bytes arrive, decoding gives a message or a clear refusal, never a crash or a wild read."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls import messages as m
from carls.errors import InvalidRequestError, ProtocolError
from carls.keys import Keys
from carls.wire.columns import (
    BatchColumn,
    BitsColumn,
    DoublesColumn,
    FloatsColumn,
    KeysColumn,
    ModelsColumn,
    NumbersColumn,
)
from carls.wire.frames import Frame
from carls.wire.layout import Layout
from carls.wire.streamed import OPERATIONS, STREAMED, Streamed

WRITE = m.WriteId("c" * 32, 1, True)
BOUND = m.AgeBound(None, None, None)
TEXTS = pa.RecordBatch.from_pydict({"label": [1, 2], "near": [["a"], ["b", "c"]]})
NAMED = Keys.of(["key", "other"])
NUMBERED = Keys.of([5, 6])
META = np.zeros(2, m.ROW_META)
ONES = np.ones((2, 3), np.float32)
REQUESTS = [
    m.Lookup("t", NAMED, True, BOUND, 0, "me"),
    m.Lookup("t", NUMBERED, True, BOUND, 0, "me"),
    m.Assign("t", NAMED, ONES, 1, "me", WRITE),
    m.PushGradients("t", NUMBERED, ONES, 1, "me", WRITE),
    m.Erase("t", NAMED, WRITE),
    m.Scan("t", 0, 5, 0),
    m.Export("t", 0, 5, 0),
    m.Import("t", NAMED, ONES, META, ("", "you"), "me", WRITE),
    m.Sample("t", 3, {"name": "uniform"}, NAMED, (1, 0), True, 5, 6),
    m.FeatureLookup("t", NAMED, BOUND, 0, "me"),
    m.FeatureAssign("t", NAMED, TEXTS, 1, "me", WRITE),
    m.FeatureScan("t", 0, 5, 0),
    m.FeatureImport("t", NAMED, TEXTS, META, ("you",), "me", WRITE),
    m.ReadMemory("t", ONES, "me"),
    m.AbsorbPoints("t", ONES, True, "me", WRITE),
    m.ExportMemory("t"),
    m.LoadMemory("t", 0, 1, ONES, np.array([0, 1]), m.MemoryCounts(1, 2, 0, 0), "me", WRITE),
    m.JoinTask("t", "a", 1.0, None, 2.0, np.ones(3), np.ones(3), 5, "n", "me", WRITE),
    m.PullTask("t", "a", 0.5, "n"),
    m.PushTask("t", "a", 7, np.ones(3), m.Evidence(1.0, 2.0, 3.0), "n", "me"),
    m.FetchTaskModels("t"),
    m.FetchTaskHistory("t"),
    m.PublishModel("t", 1, 1, 0, 1, "d", b"abc", "me", WRITE),
    m.FetchModel("t", 1, 0),
]
WITH_COLUMNS = [request for request in REQUESTS if STREAMED[type(request)].request.layout.columns]
REFUSALS = (ProtocolError, InvalidRequestError)


def touch(message: Any) -> None:
    """Read all that a message holds, as the bank would."""
    for field in message:
        if isinstance(field, Keys):
            field.tolist()
        elif isinstance(field, np.ndarray):
            field.tobytes()
        elif isinstance(field, pa.RecordBatch):
            field.to_pylist()


@pytest.mark.parametrize("request_", WITH_COLUMNS, ids=lambda r: type(r).__name__)
def test_corrupted_batches_are_read_or_refused(request_: Any) -> None:
    operation = STREAMED[type(request_)]
    frame = operation.request.encode(request_)
    whole = np.frombuffer(frame.batch.serialize(), np.uint8)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    def survive(edits: list[tuple[int, int]]) -> None:
        raw = whole.copy()
        for at, byte in edits:
            raw[at] = byte
        try:
            batch = pa.ipc.read_record_batch(pa.py_buffer(raw.tobytes()), frame.batch.schema)
        except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError):
            return  # Arrow saw it; the server calls that a ProtocolError
        with contextlib.suppress(*REFUSALS):
            touch(operation.request.decode(Frame(batch, frame.facts), **{operation.table: "t"}))

    survive()


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_corrupted_facts_are_read_or_refused(request_: Any, data: st.DataObject) -> None:
    operation = STREAMED[type(request_)]
    frame = operation.request.encode(request_)
    raw = bytearray(frame.facts)
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(*REFUSALS):
        touch(operation.request.decode(Frame(frame.batch, bytes(raw)), **{operation.table: "t"}))


def batch_of(array: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([array], schema=pa.schema([pa.field("keys", array.type)]))


def with_offsets(arrow_type: pa.DataType, *wrong: int) -> pa.RecordBatch:
    """Two keys or lists whose offsets are made wrong after Arrow has looked at them."""
    offsets = np.array([0, 1, 3], np.int32)
    buffers, children = [None, pa.py_buffer(offsets)], None
    if pa.types.is_list(arrow_type):
        children = [pa.array([1, 2, 3], arrow_type.value_type)]
    else:
        buffers.append(pa.py_buffer(b"abc"))
    batch = batch_of(pa.Array.from_buffers(arrow_type, 2, buffers, children=children))
    offsets[:] = wrong
    return batch


def with_bytes(wrong: bytes) -> pa.RecordBatch:
    """One string whose bytes are made wrong after Arrow has looked at them."""
    data = np.full(len(wrong), ord("a"), np.uint8)
    buffers = [None, pa.py_buffer(np.array([0, len(wrong)], np.int32)), pa.py_buffer(data)]
    batch = batch_of(pa.Array.from_buffers(pa.string(), 1, buffers))
    data[:] = np.frombuffer(wrong, np.uint8)
    return batch


INTS = pa.list_(pa.int32())
BAD = {
    "offsets beyond the data": with_offsets(pa.binary(), 0, 1, 99),
    "offsets that go back": with_offsets(pa.string(), 0, 3, 1),
    "negative offsets": with_offsets(pa.binary(), 0, -5, 2),
    "a negative first offset": with_offsets(pa.binary(), -7, 1, 2),
    "huge offsets": with_offsets(pa.string(), 0, 1, 2**31 - 1),
    "list offsets beyond the data": with_offsets(INTS, 0, 1, 99),
    "list offsets that go back": with_offsets(INTS, 0, 3, 1),
    "invalid UTF-8": with_bytes(b"ab\xff\xfe"),
    "cut UTF-8": with_bytes("ä".encode()[:1]),
    "nulls": batch_of(pa.array([1, None])),
    "null keys": batch_of(pa.array(["a", None])),
    "nulls in vectors": batch_of(pa.array([[1.0, None]], pa.list_(pa.float32(), 2))),
    "null vectors": batch_of(pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2))),
    "null numbers": batch_of(pa.array([1.0, None], pa.float32())),
    "null truths": batch_of(pa.array([True, None])),
    "nulls in lists in structs": batch_of(pa.array([{"a": ["a", None]}])),
    "null lists in structs": batch_of(pa.array([{"a": ["a"]}, {"a": None}])),
    "nulls in structs": batch_of(pa.array([{"a": 1}, {"a": None}])),
    "nulls in models": batch_of(pa.array([[1.0, None]], pa.list_(pa.float64(), 2))),
    "null models": batch_of(pa.array([None, [1.0, 2.0]], pa.list_(pa.float64(), 2))),
    "null doubles": batch_of(pa.array([1.0, None])),
    "null structs": batch_of(pa.array([{"a": 1}, None])),
}


@pytest.mark.parametrize("what", BAD)
def test_forged_arrays_are_refused(what: str) -> None:
    batch = BAD[what]
    columns = [
        FloatsColumn(),
        KeysColumn(),
        BatchColumn(),
        BitsColumn(),
        NumbersColumn(),
        DoublesColumn(),
        ModelsColumn(),
    ]
    column = next((c for c in columns if c.accepts(batch.schema.field("keys").type)), BatchColumn())
    with pytest.raises(ProtocolError, match="expected"):
        Layout({"keys": column}).unpack(batch)


TYPES = st.sampled_from(
    [
        pa.int64(),
        pa.int32(),
        pa.string(),
        pa.binary(),
        pa.large_string(),
        pa.binary(32),
        pa.float32(),
        pa.null(),
        pa.bool_(),
        pa.uint8(),
        pa.list_(pa.float32()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.float64(), 3),
        pa.float64(),
        pa.list_(pa.list_(pa.int32())),
        pa.dictionary(pa.int32(), pa.string()),
        pa.struct([pa.field("a", pa.int32())]),
        pa.struct([pa.field("a", pa.dictionary(pa.int32(), pa.string()))]),
        pa.struct([]),
        pa.map_(pa.string(), pa.int32()),
        pa.string_view(),
        pa.run_end_encoded(pa.int32(), pa.int64()),
        pa.timestamp("s"),
        pa.decimal128(5),
    ]
)
NAMES = st.sampled_from(
    ["keys", "values", "gradients", "columns", "correction", "meta", "data", "found", "x"]
)
SCHEMAS = st.lists(st.builds(pa.field, NAMES, TYPES), max_size=3).map(pa.schema)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@settings(max_examples=100, deadline=None)
@given(schema=SCHEMAS)
def test_an_accepted_schema_is_one_that_can_be_decoded(operation: Streamed, schema: pa.Schema) -> None:
    try:
        operation.request.check_schema(schema)
    except ProtocolError:
        return
    assert schema.names == list(operation.request.layout.columns)
    arrays = [pa.array([], field.type) for field in schema]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else None
    if not operation.request.facts:
        return
    with pytest.raises(REFUSALS):  # for want of facts; the columns were fine
        operation.request.decode(Frame(batch, b"{}"), **{operation.table: "t"})


@pytest.mark.parametrize("message", STREAMED, ids=lambda message: message.__name__)
def test_a_reply_without_what_it_should_have_is_refused(message: Any) -> None:
    form = STREAMED[message].reply
    empty = pa.RecordBatch.from_arrays([pa.array([1])], names=["surprise"])
    with pytest.raises(ProtocolError):
        form.check_schema(empty.schema)
    if message not in (m.Assign, m.PushGradients, m.FeatureAssign, m.PublishModel):
        with pytest.raises(ProtocolError):
            form.decode(Frame(None, None))


def test_row_metadata_with_an_impossible_truth_is_refused() -> None:
    form = STREAMED[m.Lookup].reply
    meta = np.zeros(2, m.ROW_META)
    meta.view(np.uint8)[30] = 7
    frame = form.encode(m.RowBatch(np.ones((2, 3), np.float32), meta, ()))
    with pytest.raises(ProtocolError, match="truth value above 1"):
        form.decode(frame)
