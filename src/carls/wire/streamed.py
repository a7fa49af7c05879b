"""Operations that travel on streams: those that touch rows or carry models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from carls.messages import (
    AbsorbPoints,
    Assign,
    Done,
    Erase,
    Erased,
    Export,
    ExportMemory,
    FeatureAssign,
    FeatureBatch,
    FeatureImport,
    FeatureLookup,
    FeaturePage,
    FeatureScan,
    FetchModel,
    FetchTaskHistory,
    FetchTaskModels,
    Import,
    JoinTask,
    LoadMemory,
    Lookup,
    MemoryBatch,
    MemoryContent,
    ModelPart,
    Nearest,
    PublishModel,
    PullTask,
    PushGradients,
    PushTask,
    ReadMemory,
    RowBatch,
    Sample,
    SampleBatch,
    Scan,
    ScanPage,
    Survey,
    SurveyBatch,
    TaskHistory,
    TaskModels,
    TaskPushed,
)
from carls.wire.columns import (
    BatchColumn,
    BitsColumn,
    BytesColumn,
    DoublesColumn,
    FloatsColumn,
    IntegersColumn,
    KeyListsColumn,
    KeysColumn,
    MetaColumn,
    ModelsColumn,
    NumbersColumn,
)
from carls.wire.facts import (
    age_bound,
    boolean,
    evidence,
    integer,
    integers,
    mapping,
    maybe_number,
    memory_counts,
    number,
    text,
    texts,
    write_id,
)
from carls.wire.forms import Form, NeighboursForm, OptionalForm, PageForm, PullForm


@dataclass(frozen=True)
class Streamed:
    """An operation on streams.

    Attributes:
        name: of the operation, as the stream's command says it.
        request: form of its requests.
        reply: form of its replies.
        table: the request's field that the command carries: a table or a model.
        reply_varies: the request's field on which the replies' columns depend, if they do. One
            stream has replies of one kind.
    """

    name: str
    request: Form
    reply: Form | OptionalForm | PageForm
    table: str = "table"
    reply_varies: str | None = None


_KEYS = KeysColumn()
_PRODUCERS: dict[str, Any] = {"facts": {"producers": texts}, "unsaid": {"producers": ()}}
_ROWS = Form(RowBatch, {"values": FloatsColumn(), "meta": MetaColumn()}, **_PRODUCERS)
_FEATURES = Form(FeatureBatch, {"columns": BatchColumn(), "meta": MetaColumn()}, **_PRODUCERS)
_DONE = Form(Done)
_ROW_WRITE = {"step": integer, "producer": text, "write": write_id}
_MOVED = {"producers": texts, "producer": text, "write": write_id}
_WALK = {"cursor": integer, "limit": integer, "known_producers": integer}
_BOUNDED = {"bound": age_bound, "known_producers": integer, "reader": text}
_POINTS = {"points": FloatsColumn()}
_CLUSTER = {"cluster": IntegersColumn()}
_CLUSTERS = Form(
    MemoryBatch,
    {
        **_CLUSTER,
        "mean": FloatsColumn(),
        "variance": FloatsColumn(),
        "distance": NumbersColumn(),
    },
    unsaid={},
)
_CONTENT = {"points": FloatsColumn(), **_CLUSTER}
_NODE = {"node": text, "producer": text}

_SAMPLE = {
    "n": integer,
    "strategy": mapping,
    "positives": integers,
    "unique": boolean,
    "hits": boolean,
    "seed": integer,
    "counter": integer,
    "dtype": text,
}
_CANDIDATES = {"keys": _KEYS, "values": FloatsColumn(), "expected": NumbersColumn(), "found": BitsColumn()}

OPERATIONS = (
    Streamed(
        "lookup",
        Form(Lookup, {"keys": _KEYS}, {"create": boolean, **_BOUNDED, "dtype": text}),
        _ROWS,
        reply_varies="dtype",
    ),
    Streamed("assign", Form(Assign, {"keys": _KEYS, "values": FloatsColumn()}, _ROW_WRITE), _DONE),
    Streamed(
        "push_gradients",
        Form(PushGradients, {"keys": _KEYS, "gradients": FloatsColumn()}, _ROW_WRITE),
        _DONE,
    ),
    Streamed(
        "erase",
        Form(Erase, {"keys": _KEYS}, {"write": write_id}),
        Form(Erased, {"found": BitsColumn()}, unsaid={}),
    ),
    Streamed("scan", Form(Scan, facts=_WALK), PageForm(ScanPage, _ROWS)),
    Streamed("export", Form(Export, facts=_WALK), PageForm(ScanPage, _ROWS)),
    Streamed(
        "import",
        Form(Import, {"keys": _KEYS, "records": FloatsColumn(), "meta": MetaColumn()}, _MOVED),
        _DONE,
    ),
    Streamed(
        "sample",
        Form(Sample, {"keys": _KEYS}, _SAMPLE),
        OptionalForm(SampleBatch, _CANDIDATES, "values"),
        reply_varies="dtype",
    ),
    Streamed(
        "nearest",
        Form(
            Nearest,
            {"queries": FloatsColumn(), "excluded": KeyListsColumn()},
            {"shared": boolean, "k": integer, "metric": text, "where": text, "exact": boolean},
        ),
        NeighboursForm(),
    ),
    Streamed(
        "survey",
        Form(Survey, {"keys": _KEYS}, {"known_producers": integer}),
        Form(SurveyBatch, {"meta": MetaColumn(), "demand": IntegersColumn()}, **_PRODUCERS),
    ),
    Streamed("feature_lookup", Form(FeatureLookup, {"keys": _KEYS}, _BOUNDED), _FEATURES),
    Streamed(
        "feature_assign",
        Form(FeatureAssign, {"keys": _KEYS, "columns": BatchColumn()}, _ROW_WRITE),
        _DONE,
    ),
    Streamed("feature_scan", Form(FeatureScan, facts=_WALK), PageForm(FeaturePage, _FEATURES)),
    Streamed(
        "feature_import",
        Form(FeatureImport, {"keys": _KEYS, "columns": BatchColumn(), "meta": MetaColumn()}, _MOVED),
        _DONE,
    ),
    Streamed("read_memory", Form(ReadMemory, _POINTS, {"reader": text}), _CLUSTERS),
    Streamed(
        "absorb_points",
        Form(AbsorbPoints, _POINTS, {"grow": boolean, "producer": text, "write": write_id}),
        _CLUSTERS,
    ),
    Streamed("export_memory", Form(ExportMemory), Form(MemoryContent, _CONTENT, {"counts": memory_counts})),
    Streamed(
        "load_memory",
        Form(
            LoadMemory,
            _CONTENT,
            {
                "part": integer,
                "parts": integer,
                "counts": memory_counts,
                "producer": text,
                "write": write_id,
            },
        ),
        _DONE,
    ),
    Streamed(
        "join_task",
        Form(
            JoinTask,
            {"model": DoublesColumn(), "column": DoublesColumn()},
            {
                "task": text,
                "ridge_norm": number,
                "lipschitz": maybe_number,
                "mu": number,
                "tasks": integer,
                **_NODE,
                "write": write_id,
            },
        ),
        _DONE,
    ),
    Streamed(
        "pull_task",
        Form(PullTask, facts={"task": text, "wait_s": number, "node": text}),
        PullForm(),
    ),
    Streamed(
        "push_task",
        Form(
            PushTask,
            {"correction": DoublesColumn()},
            {"task": text, "sequence": integer, "evidence": evidence, **_NODE},
        ),
        Form(TaskPushed, facts={"outcome": text}),
    ),
    Streamed(
        "task_models",
        Form(FetchTaskModels),
        Form(TaskModels, {"values": ModelsColumn()}, {"tasks": texts}),
    ),
    Streamed(
        "task_history",
        Form(FetchTaskHistory),
        Form(
            TaskHistory,
            {
                "at": DoublesColumn(),
                "updates": IntegersColumn(),
                "objective": DoublesColumn(),
                "bound": DoublesColumn(),
                "guard": DoublesColumn(),
                "longest_delay": IntegersColumn(),
            },
            unsaid={},
        ),
    ),
    Streamed(
        "publish_model",
        Form(
            PublishModel,
            {"data": BytesColumn()},
            {
                "step": integer,
                "keep": integer,
                "part": integer,
                "parts": integer,
                "digest": text,
                "producer": text,
                "write": write_id,
            },
        ),
        _DONE,
        table="model",
    ),
    Streamed(
        "fetch_model",
        Form(FetchModel, facts={"version": integer, "part": integer}),
        Form(ModelPart, {"data": BytesColumn()}, unsaid={}),
        table="model",
    ),
)

#: By class of request, and by name.
STREAMED = {operation.request.message: operation for operation in OPERATIONS}
BY_NAME = {operation.name: operation for operation in OPERATIONS}
