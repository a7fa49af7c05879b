"""Every message survives the wire: what is read equals what was written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls import messages as m
from carls.keys import Keys
from carls.statistics import (
    Counters,
    Histogram,
    IndexStatistics,
    MemoryStatistics,
    ProducerStatistics,
    ReaderStatistics,
    TableStatistics,
    TaskStatistics,
)
from carls.wire.actions import ACTIONS
from carls.wire.frames import Frame
from carls.wire.streamed import STREAMED

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.floats(allow_nan=False)
INTEGERS = st.lists(INT64, max_size=5).map(tuple)
WRITE = st.builds(m.WriteId, TEXT, INT64, st.booleans())
BOUND = st.builds(m.AgeBound, st.none() | INT64, st.none() | INT64, st.none() | NUMBER)
PRODUCERS = st.lists(TEXT, max_size=3).map(tuple)
SPEC = st.dictionaries(TEXT, st.none() | INT64 | TEXT | st.lists(TEXT, max_size=2), max_size=3)
ROWS = st.integers(1, 5)
MEMORY_COUNTS = st.builds(m.MemoryCounts, INT64, INT64, INT64, INT64)


def keys_of(n: int) -> st.SearchStrategy[Keys]:
    def some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Keys]:
        return st.lists(one, min_size=n, max_size=n).map(Keys.of)

    return some(INT64) | some(TEXT) | some(st.binary(max_size=8))


def floats_of(n: int) -> st.SearchStrategy[np.ndarray]:
    drawn = st.tuples(st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float16]))
    return drawn.map(lambda d: np.random.default_rng(d[1]).standard_normal((n, d[0])).astype(d[2]))


def numbers_of(n: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.floats(width=32), min_size=n, max_size=n).map(
        lambda drawn: np.array(drawn, np.float32)
    )


def bits_of(n: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.booleans(), min_size=n, max_size=n).map(lambda bits: np.array(bits, bool))


def none_of(_: int) -> st.SearchStrategy[None]:
    return st.none()


@st.composite
def meta_of(draw: st.DrawFn, n: int) -> np.ndarray:
    u4 = st.integers(0, 2**32 - 1)
    row = st.tuples(u4, u4, INT64, NUMBER, u4, st.booleans(), st.booleans(), st.booleans(), st.just(0))
    return np.array(draw(st.lists(row, min_size=n, max_size=n)), dtype=m.ROW_META)


@st.composite
def key_lists_of(draw: st.DrawFn, n: int) -> m.KeyLists:
    ends = np.cumsum([0, *draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))], dtype=np.int32)
    return m.KeyLists(draw(keys_of(int(ends[-1]))) if ends[-1] else None, ends)


@st.composite
def neighbours(draw: st.DrawFn) -> m.NeighbourBatch:
    counts = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)))
    scores = np.random.default_rng(0).standard_normal(sum(counts)).astype(np.float32)
    return m.NeighbourBatch(draw(keys_of(sum(counts))) if sum(counts) else None, scores, counts)


FEATURES = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): INT64,
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): NUMBER,
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
}
FEATURES |= {pa.list_(t): st.lists(one, max_size=3) for t, one in FEATURES.items() if t != pa.bool_()}


@st.composite
def columns_of(draw: st.DrawFn, n: int) -> pa.RecordBatch:
    types = draw(st.lists(st.sampled_from(list(FEATURES)), min_size=1, max_size=4))
    arrays = [pa.array(draw(st.lists(FEATURES[t], min_size=n, max_size=n)), t) for t in types]
    # "keys" and "meta" are column names like any other.
    names = draw(st.permutations(["keys", "meta", "columns", "x"]))
    return pa.RecordBatch.from_arrays(arrays, names=names[: len(types)])


def integers_of(n: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(INT64, min_size=n, max_size=n).map(lambda drawn: np.array(drawn, np.int64))


def doubles_of(n: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.floats(), min_size=n, max_size=n).map(lambda drawn: np.array(drawn, np.float64))


@st.composite
def task_models(draw: st.DrawFn) -> m.TaskModels:
    tasks, dim = draw(PRODUCERS), draw(st.integers(1, 4))
    # Columns lie one behind the other, as a reply's do.
    return m.TaskModels(tasks, draw(doubles_of(len(tasks) * dim)).reshape(len(tasks), dim).T)


@st.composite
def task_history(draw: st.DrawFn) -> m.TaskHistory:
    n = draw(st.integers(0, 4))
    at, objective, bound, guard = (draw(doubles_of(n)) for _ in range(4))
    return m.TaskHistory(at, draw(integers_of(n)), objective, bound, guard, draw(integers_of(n)))


def of_rows(parts: dict[str, Any], n: int) -> dict[str, st.SearchStrategy[Any]]:
    return {name: part if isinstance(part, st.SearchStrategy) else part(n) for name, part in parts.items()}


def sized(build: Any, **parts: Any) -> st.SearchStrategy[Any]:
    """A message whose parts given as functions of the number of rows have the same number."""
    return ROWS.flatmap(lambda n: st.builds(build, **of_rows(parts, n)))


row_write = {"table": TEXT, "keys": keys_of, "step": INT64, "producer": TEXT, "write": WRITE}
moved = {
    "table": TEXT,
    "keys": keys_of,
    "meta": meta_of,
    "producers": PRODUCERS,
    "producer": TEXT,
    "write": WRITE,
}
walk = {"table": TEXT, "cursor": INT64, "limit": INT64, "known_producers": INT64}
REQUESTS = {
    m.Lookup: sized(
        m.Lookup,
        table=TEXT,
        keys=keys_of,
        create=st.booleans(),
        bound=BOUND,
        known_producers=INT64,
        reader=TEXT,
        dtype=TEXT,
    ),
    m.Assign: sized(m.Assign, values=floats_of, **row_write),
    m.PushGradients: sized(m.PushGradients, gradients=floats_of, **row_write),
    m.Erase: sized(m.Erase, table=TEXT, keys=keys_of, write=WRITE),
    m.Survey: sized(m.Survey, table=TEXT, keys=keys_of, known_producers=INT64),
    m.Scan: st.builds(m.Scan, **walk),
    m.Export: st.builds(m.Export, **walk),
    m.Import: sized(m.Import, records=floats_of, **moved),
    m.Sample: sized(
        m.Sample,
        table=TEXT,
        n=INT64,
        strategy=st.just({"name": "frequency", "alpha": 0.5}),
        keys=keys_of,
        positives=st.lists(INT64, max_size=5).map(tuple),
        unique=st.booleans(),
        hits=st.booleans(),
        seed=INT64,
        counter=INT64,
        dtype=TEXT,
    ),
    m.Nearest: sized(
        m.Nearest,
        table=TEXT,
        queries=floats_of,
        excluded=key_lists_of,
        shared=st.booleans(),
        k=INT64,
        metric=TEXT,
        where=TEXT,
        exact=st.booleans(),
    ),
    m.FeatureLookup: sized(
        m.FeatureLookup, table=TEXT, keys=keys_of, bound=BOUND, known_producers=INT64, reader=TEXT
    ),
    m.FeatureAssign: sized(m.FeatureAssign, columns=columns_of, **row_write),
    m.FeatureScan: st.builds(m.FeatureScan, **walk),
    m.FeatureImport: sized(m.FeatureImport, columns=columns_of, **moved),
    m.PublishModel: st.builds(
        m.PublishModel,
        model=TEXT,
        step=INT64,
        keep=INT64,
        part=INT64,
        parts=INT64,
        digest=TEXT,
        data=st.binary(max_size=100),
        producer=TEXT,
        write=WRITE,
    ),
    m.ReadMemory: sized(m.ReadMemory, table=TEXT, points=floats_of, reader=TEXT),
    m.AbsorbPoints: sized(
        m.AbsorbPoints, table=TEXT, points=floats_of, grow=st.booleans(), producer=TEXT, write=WRITE
    ),
    m.ExportMemory: st.builds(m.ExportMemory, TEXT),
    m.LoadMemory: sized(
        m.LoadMemory,
        table=TEXT,
        part=INT64,
        parts=INT64,
        points=floats_of,
        cluster=integers_of,
        counts=MEMORY_COUNTS,
        producer=TEXT,
        write=WRITE,
    ),
    m.FetchModel: st.builds(m.FetchModel, model=TEXT, version=INT64, part=INT64),
    m.JoinTask: sized(
        m.JoinTask,
        table=TEXT,
        task=TEXT,
        ridge_norm=NUMBER,
        lipschitz=st.none() | NUMBER,
        mu=NUMBER,
        model=doubles_of,
        column=doubles_of,
        tasks=INT64,
        node=TEXT,
        producer=TEXT,
        write=WRITE,
    ),
    m.PullTask: st.builds(m.PullTask, TEXT, TEXT, NUMBER, TEXT),
    m.PushTask: sized(
        m.PushTask,
        table=TEXT,
        task=TEXT,
        sequence=INT64,
        correction=doubles_of,
        evidence=st.builds(m.Evidence, NUMBER, NUMBER, NUMBER),
        node=TEXT,
        producer=TEXT,
    ),
    m.FetchTaskModels: st.builds(m.FetchTaskModels, TEXT),
    m.FetchTaskHistory: st.builds(m.FetchTaskHistory, TEXT),
}
row_batch = {"values": floats_of, "meta": meta_of, "producers": PRODUCERS}
feature_batch = {"columns": columns_of, "meta": meta_of, "producers": PRODUCERS}


def pages(page: Any, batch: Any, parts: dict[str, Any]) -> st.SearchStrategy[Any]:
    def rows_of(n: int) -> st.SearchStrategy[Any]:
        return st.builds(
            batch, **{k: v if isinstance(v, st.SearchStrategy) else v(n) for k, v in parts.items()}
        )

    full = ROWS.flatmap(lambda n: st.builds(page, keys_of(n), rows_of(n), INT64))
    return full | st.builds(page, st.none(), rows_of(0), INT64)


DONE = st.just(m.Done())
CLUSTERS = sized(m.MemoryBatch, cluster=integers_of, mean=floats_of, variance=floats_of, distance=numbers_of)
REPLIES = {
    m.Lookup: sized(m.RowBatch, **row_batch),
    m.Assign: DONE,
    m.PushGradients: DONE,
    m.Erase: st.lists(st.booleans(), max_size=20).map(lambda bits: m.Erased(np.array(bits, bool))),
    m.Survey: sized(m.SurveyBatch, meta=meta_of, demand=integers_of, producers=PRODUCERS),
    m.Scan: pages(m.ScanPage, m.RowBatch, row_batch),
    m.Export: pages(m.ScanPage, m.RowBatch, row_batch),
    m.Import: DONE,
    m.Sample: sized(m.SampleBatch, keys=keys_of, expected=numbers_of, found=bits_of, values=floats_of)
    | sized(m.SampleBatch, keys=keys_of, expected=numbers_of, found=bits_of, values=none_of),
    m.Nearest: neighbours(),
    m.FeatureLookup: sized(m.FeatureBatch, **feature_batch),
    m.FeatureAssign: DONE,
    m.FeatureScan: pages(m.FeaturePage, m.FeatureBatch, feature_batch),
    m.FeatureImport: DONE,
    m.PublishModel: DONE,
    m.ReadMemory: CLUSTERS,
    m.AbsorbPoints: CLUSTERS,
    m.ExportMemory: sized(m.MemoryContent, points=floats_of, cluster=integers_of, counts=MEMORY_COUNTS),
    m.LoadMemory: DONE,
    m.FetchModel: st.builds(m.ModelPart, st.binary(max_size=100)),
    m.JoinTask: DONE,
    m.PullTask: sized(
        m.Pull,
        sequence=st.integers(1, 2**63 - 1),
        mu=NUMBER,
        model=doubles_of,
        column=doubles_of,
        tasks=INT64,
    )
    | st.just(m.NoPull()),
    m.PushTask: st.builds(m.TaskPushed, TEXT),
    m.FetchTaskModels: task_models(),
    m.FetchTaskHistory: task_history(),
}
LEARNING_RATES = st.lists(st.builds(m.LearningRate, NUMBER, INT64, TEXT, NUMBER), max_size=3).map(tuple)
TABLE_INFO = st.builds(
    m.TableInfo, name=TEXT, spec=SPEC, rows=INT64, nbytes=INT64, bank=TEXT, learning_rates=LEARNING_RATES
)
MODEL_INFO = st.builds(
    m.ModelInfo,
    name=TEXT,
    version=INT64,
    step=INT64,
    age=NUMBER,
    producer=TEXT,
    nbytes=INT64,
    parts=INT64,
    digest=TEXT,
)
COUNT = st.integers(0, 2**64)
HISTOGRAM = {
    "steps": st.builds(Histogram, st.just(1), st.lists(COUNT, max_size=64)),
    "seconds": st.builds(Histogram, st.just(0.001), st.lists(COUNT, max_size=64)),
}
READER = dict.fromkeys(("lookups", "looked_up", "created", "missed", "stale", "ahead", "unsaid"), COUNT)
STATISTICS = st.builds(
    TableStatistics,
    name=TEXT,
    kind=TEXT,
    keys=st.none() | TEXT,
    rows=COUNT,
    nbytes=COUNT,
    counters=st.builds(Counters, *[COUNT] * 17),
    producers=st.lists(
        st.builds(
            ProducerStatistics, name=TEXT, written=COUNT, step=st.integers(-1, 2**63), age=st.floats(0, 1e9)
        ),
        max_size=2,
    ).map(tuple),
    readers=st.lists(st.builds(ReaderStatistics, name=TEXT, **READER, **HISTOGRAM), max_size=2).map(tuple),
    memory=st.none() | st.builds(MemoryStatistics, *[COUNT] * 5),
    index=st.none() | st.builds(IndexStatistics, SPEC, *[COUNT] * 4, st.none() | st.floats(0, 1e9), TEXT),
    tasks=st.none() | st.builds(TaskStatistics, *[COUNT] * 5, *[st.none() | st.floats(-1e9, 1e9)] * 2),
)
TASK_STATE = st.builds(
    m.TaskState,
    nodes=st.lists(
        st.builds(m.TaskNodeState, TEXT, TEXT, INT64, NUMBER, NUMBER, INT64, NUMBER), max_size=2
    ).map(tuple),
    updates=INT64,
    duplicates=INT64,
    superseded=INT64,
    epochs=INT64,
    mu=NUMBER,
    guard=NUMBER,
    longest_delay=INT64,
    gap=st.none() | st.builds(m.Gap, NUMBER, NUMBER),
    certified=st.none() | st.builds(m.Gap, NUMBER, NUMBER),
)
ACTION_REQUESTS = {
    m.OpenTable: st.builds(m.OpenTable, TEXT, SPEC),
    m.SetLearningRate: st.builds(m.SetLearningRate, TEXT, NUMBER, INT64, TEXT, WRITE),
    m.SetIndex: st.builds(m.SetIndex, TEXT, st.none() | SPEC),
    m.ListTables: st.just(m.ListTables()),
    m.DescribeTable: st.builds(m.DescribeTable, TEXT),
    m.DropTable: st.builds(m.DropTable, TEXT, WRITE),
    m.DescribeBank: st.just(m.DescribeBank()),
    m.Announce: st.builds(m.Announce, TEXT, INTEGERS, INT64, INT64, TEXT, WRITE),
    m.LatestKnowledge: st.builds(m.LatestKnowledge, TEXT, INT64, NUMBER),
    m.FetchStatistics: st.builds(m.FetchStatistics, TEXT),
    m.FetchStatus: st.just(m.FetchStatus()),
    m.LatestModel: st.builds(m.LatestModel, TEXT, st.none() | INT64, NUMBER, st.none() | INT64),
    m.LeaseShares: st.builds(m.LeaseShares, TEXT, TEXT, INT64, TEXT, NUMBER, TEXT),
    m.RenewLease: st.builds(m.RenewLease, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple)),
    m.EndLease: st.builds(m.EndLease, TEXT, TEXT),
    m.ListModels: st.just(m.ListModels()),
    m.LeaveTask: st.builds(m.LeaveTask, TEXT, TEXT, TEXT, WRITE),
    m.FetchTaskState: st.builds(m.FetchTaskState, TEXT),
}
ACTION_REPLIES = {
    m.OpenTable: TABLE_INFO,
    m.SetLearningRate: DONE,
    m.SetIndex: DONE,
    m.ListTables: st.lists(TABLE_INFO, max_size=3),
    m.DescribeTable: TABLE_INFO,
    m.DropTable: DONE,
    m.DescribeBank: st.builds(
        m.BankInfo, id=TEXT, version=TEXT, uptime_s=NUMBER, durable=st.booleans(), tables=PRODUCERS
    ),
    m.Announce: DONE,
    m.LeaseShares: st.builds(m.LeaseInfo, INTEGERS, INTEGERS, INT64),
    m.RenewLease: DONE,
    m.EndLease: DONE,
    m.LatestKnowledge: st.builds(m.KnowledgeInfo, INT64, INT64, INT64, TEXT, NUMBER),
    m.FetchStatistics: STATISTICS,
    m.FetchStatus: st.builds(
        m.BankStatus,
        id=TEXT,
        version=TEXT,
        uptime_s=NUMBER,
        durable=st.booleans(),
        tables=st.lists(STATISTICS, max_size=2).map(tuple),
        models=st.lists(MODEL_INFO, max_size=2).map(tuple),
    ),
    m.LatestModel: MODEL_INFO | st.just(m.NoModel()),
    m.ListModels: st.lists(MODEL_INFO, max_size=3),
    m.LeaveTask: DONE,
    m.FetchTaskState: TASK_STATE,
}


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, pa.RecordBatch):
        return one.schema.equals(other.schema) and one.to_pylist() == other.to_pylist()
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, m.Pull | m.TaskModels):  # equal by identity only
        return all(same(part, getattr(other, name)) for name, part in vars(one).items())
    return one == other


def sent(frame: Frame, shift: int) -> Frame:
    """The frame as it arrives: its batch through Arrow IPC, at an address that is `shift` off alignment."""
    if frame.batch is None:
        return frame
    raw = frame.batch.serialize().to_pybytes()
    moved = np.empty(len(raw) + 64 + shift, np.uint8)
    start = -moved.ctypes.data % 64 + shift
    moved[start : start + len(raw)] = np.frombuffer(raw, np.uint8)
    message = pa.py_buffer(moved)[start : start + len(raw)]
    return Frame(pa.ipc.read_record_batch(message, frame.batch.schema), frame.facts)


SHIFTS = st.sampled_from([0, 1, 2, 4])


def test_every_request_has_one_way_to_travel() -> None:
    assert set(STREAMED) | set(ACTIONS) == set(m.Request.__args__)
    assert not set(STREAMED) & set(ACTIONS)
    assert set(REQUESTS) == set(REPLIES) == set(STREAMED)
    assert set(ACTION_REQUESTS) == set(ACTION_REPLIES) == set(ACTIONS)


@pytest.mark.parametrize("message", REQUESTS, ids=lambda message: message.__name__)
def test_requests_on_streams(message: Any) -> None:
    operation = STREAMED[message]

    @settings(max_examples=50, deadline=None)
    @given(REQUESTS[message], SHIFTS)
    def survive(request: Any, shift: int) -> None:
        frame = sent(operation.request.encode(request), shift)
        if frame.batch is not None:
            operation.request.check_schema(frame.batch.schema)
        table = getattr(request, operation.table)
        assert same(operation.request.decode(frame, **{operation.table: table}), request)

    survive()


@pytest.mark.parametrize("message", REPLIES, ids=lambda message: message.__name__)
def test_replies_on_streams(message: Any) -> None:
    form = STREAMED[message].reply

    @settings(max_examples=50, deadline=None)
    @given(REPLIES[message], SHIFTS)
    def survive(reply: Any, shift: int) -> None:
        frame = sent(form.encode(reply), shift)
        if frame.batch is not None:
            form.check_schema(frame.batch.schema)
        assert same(form.decode(frame), reply)

    survive()


@pytest.mark.parametrize("message", ACTION_REQUESTS, ids=lambda message: message.__name__)
def test_actions(message: Any) -> None:
    action = ACTIONS[message]

    @settings(max_examples=50, deadline=None)
    @given(ACTION_REQUESTS[message], ACTION_REPLIES[message])
    def survive(request: Any, reply: Any) -> None:
        assert action.decode_request(action.encode_request(request, "b")) == (request, "b")
        assert action.decode_reply(action.encode_reply(reply)) == reply

    survive()


def test_numbers_that_are_no_numbers_survive() -> None:
    values = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    write = m.WriteId("c", 1, True)
    form = STREAMED[m.Assign].request
    frame = sent(form.encode(m.Assign("t", Keys.of(["a"]), values, -1, "", write)), 0)
    assert form.decode(frame, table="t").values.tobytes() == values.tobytes()


def test_a_sliced_or_transposed_array_is_sent_as_it_reads() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3].T
    form = STREAMED[m.PushGradients].request
    request = m.PushGradients("t", Keys.of([1, 2]), values, -1, "", m.WriteId("c", 1, True))
    assert form.decode(sent(form.encode(request), 0), table="t").gradients.tolist() == values.tolist()


def test_received_arrays_are_aligned_and_may_be_written_to() -> None:
    n = 9
    reply = m.RowBatch(np.ones((n, 3), np.float32), np.zeros(n, m.ROW_META), ())
    form = STREAMED[m.Lookup].reply
    for shift in range(8):
        rows = form.decode(sent(form.encode(reply), shift))
        assert rows.values.flags.aligned
        assert rows.meta.ctypes.data % 8 == 0
        assert rows.values.flags.writeable
        assert rows.meta.flags.writeable


def test_columns_are_sent_without_a_copy() -> None:
    keys, values = Keys.of(["a", "bc"]), np.ones((2, 3), np.float32)
    frame = STREAMED[m.Assign].request.encode(m.Assign("t", keys, values, -1, "", m.WriteId("c", 1, True)))
    assert frame.batch.column(0).buffers()[2].address == keys.data.ctypes.data
    assert frame.batch.column(1).buffers()[-1].address == values.ctypes.data
