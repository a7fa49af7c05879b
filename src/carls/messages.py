"""Messages: every request that a bank understands and every reply it gives.

A request means the same whether it is handed to an engine in this process or crosses the
wire: `carls.bank.Engine.handle(request)` gives the reply. Transports only carry messages.

Requests with a `write` are applied exactly once: the bank keeps, per (client, table), the
highest sequence number that it has seen and that write's reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from carls.keys import Keys
from carls.statistics import TableStatistics

#: What is told about each row, 32 bytes: how often written, how often looked up for training,
#: the producer's step (-1: never said), seconds since the last write by the bank's clock, the
#: producer as an index into the bank's list of names, and three truths.
ROW_META = np.dtype(
    [
        ("version", "<u4"),
        ("count", "<u4"),
        ("step", "<i8"),
        ("age", "<f8"),
        ("producer", "<u4"),
        ("found", "?"),
        ("created", "?"),
        ("fresh", "?"),
        ("reserved", "u1"),
    ]
)

Floats: TypeAlias = npt.NDArray[np.float32]
#: Vectors, float32 or float16.
Vectors: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Meta: TypeAlias = npt.NDArray[np.void]
Int64s: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class WriteId(NamedTuple):
    """Identity of a write: the same one is never applied twice.

    Attributes:
        client: 128 random bits as 32 hex digits, one per handle and process.
        sequence: 1, 2, 3, ... per client and table.
        first: whether the client has never had a write acknowledged by this bank; an unknown
            client whose write is not its first is an error, never a second application.
    """

    client: str
    sequence: int
    first: bool


class AgeBound(NamedTuple):
    """What a reader accepts as fresh: rows whose step is at least `at_step - max_age_steps`
    and whose age is at most `max_age_s` seconds; None where it does not care."""

    at_step: int | None = None
    max_age_steps: int | None = None
    max_age_s: float | None = None


# --- tables ---------------------------------------------------------------------------------


class OpenTable(NamedTuple):
    """Create the table or find it with the same spec. Reply: `TableInfo`."""

    table: str
    spec: dict[str, Any]


class SetLearningRate(NamedTuple):
    """Change the learning rate of an embedding table's optimizer, for pushes to come. Reply: `Done`."""

    table: str
    lr: float
    step: int
    producer: str
    write: WriteId


class ListTables(NamedTuple):
    """Reply: list of `TableInfo`, by name."""


class DescribeTable(NamedTuple):
    """Reply: `TableInfo`."""

    table: str


class DropTable(NamedTuple):
    """Drop the table and its rows. A client's drops share one sequence, whatever the table.
    Reply: `Done`."""

    table: str
    write: WriteId


class DescribeBank(NamedTuple):
    """Reply: `BankInfo`."""


class FetchStatistics(NamedTuple):
    """What happened to the table. Reply: `TableStatistics`."""

    table: str


class FetchStatus(NamedTuple):
    """What is in the bank and what happened to it. Reply: `BankStatus`."""


class LearningRate(NamedTuple):
    """A learning rate that a table was given: by whom, at which step of theirs (-1: not said), and
    how many seconds ago by the bank's clock."""

    lr: float
    step: int
    producer: str
    age: float


@dataclass(frozen=True)
class TableInfo:
    """A table as its bank sees it.

    Attributes:
        name: of the table.
        spec: that it was made with, as JSON-able facts.
        rows: how many.
        nbytes: memory taken by rows, keys and index.
        bank: id of the bank.
        learning_rates: those that took the place of the spec's, oldest first, the newest 100.
    """

    name: str
    spec: dict[str, Any]
    rows: int
    nbytes: int
    bank: str
    learning_rates: tuple[LearningRate, ...] = ()


@dataclass(frozen=True)
class BankInfo:
    """A bank: `id` (new after each restart), version of carls, seconds since its start."""

    id: str
    version: str
    uptime_s: float
    durable: bool
    tables: tuple[str, ...]


class Done(NamedTuple):
    """A reply that says no more than that it was done."""


# --- rows of embedding tables ---------------------------------------------------------------


class Lookup(NamedTuple):
    """Read rows of an embedding table. With `create`, unknown keys get rows and each look-up
    counts. `known_producers`: how many producer names the reader has. `reader`: the name under
    which the bank counts what the reader read. `dtype`: the widest that the values may travel as;
    wider ones are rounded to it. Reply: `RowBatch`."""

    table: str
    keys: Keys
    create: bool
    bound: AgeBound
    known_producers: int
    reader: str
    dtype: str = "float32"


class RowBatch(NamedTuple):
    """Rows: `values` (n, dim) of the table's dtype unless narrower ones were asked for, `meta` (n,)
    ROW_META, and the bank's producer names from index `known_producers` of the request on."""

    values: Vectors
    meta: Meta
    producers: tuple[str, ...]


class Assign(NamedTuple):
    """Set rows: values (n, dim) float32 or float16. Duplicate keys are set in order. Reply: `Done`."""

    table: str
    keys: Keys
    values: Vectors
    step: int
    producer: str
    write: WriteId


class PushGradients(NamedTuple):
    """Apply gradients (n, dim) float32 or float16 by the table's optimizer; those of equal keys
    are summed first, in float32; unknown keys get rows. Reply: `Done`."""

    table: str
    keys: Keys
    gradients: Vectors
    step: int
    producer: str
    write: WriteId


class Erase(NamedTuple):
    """Erase rows of any table. Reply: `Erased`."""

    table: str
    keys: Keys
    write: WriteId


class Erased(NamedTuple):
    """`found` (n,) bool: which keys had a row."""

    found: Bools


class Scan(NamedTuple):
    """Walk an embedding table: up to `limit` rows from `cursor` on (0 at first).
    Rows present during the whole walk come exactly once. Reply: `ScanPage`."""

    table: str
    cursor: int
    limit: int
    known_producers: int


class ScanPage(NamedTuple):
    """Rows of a walk; `cursor` of the next page, or -1 after the last. `keys` is None where
    the page has no rows."""

    keys: Keys | None
    rows: RowBatch
    cursor: int


class Export(NamedTuple):
    """Walk an embedding table with its optimizer's state, as `Scan`. Reply: `ScanPage`, whose rows
    have `values` (n, dim + floats of state): each row's value and the state behind it."""

    table: str
    cursor: int
    limit: int
    known_producers: int


class Import(NamedTuple):
    """Set rows to what they were elsewhere: `records` (n, dim) float32, values alone, or
    (n, dim + floats of state) as of `Export`. `meta` (n,) ROW_META tells their version, count,
    step, age, and producer as an index into `producers`; its truths mean nothing. `producer` is
    who moves them. Duplicate keys are set in order. Reply: `Done`."""

    table: str
    keys: Keys
    records: Floats
    meta: Meta
    producers: tuple[str, ...]
    producer: str
    write: WriteId


# --- rows of feature tables -----------------------------------------------------------------


class FeatureLookup(NamedTuple):
    """Read rows of a feature table; never creates. Reply: `FeatureBatch`."""

    table: str
    keys: Keys
    bound: AgeBound
    known_producers: int
    reader: str


class FeatureBatch(NamedTuple):
    """Rows: `columns` is a record batch of the table's columns without nulls (zeros, "" and
    empty lists where not found), `meta` and `producers` as in `RowBatch`."""

    columns: pa.RecordBatch
    meta: Meta
    producers: tuple[str, ...]


class FeatureAssign(NamedTuple):
    """Set rows: `columns` is a record batch with exactly the table's columns. Reply: `Done`."""

    table: str
    keys: Keys
    columns: pa.RecordBatch
    step: int
    producer: str
    write: WriteId


class FeatureScan(NamedTuple):
    """Walk a feature table, as `Scan`. Reply: `FeaturePage`."""

    table: str
    cursor: int
    limit: int
    known_producers: int


class FeaturePage(NamedTuple):
    """As `ScanPage`, for a feature table."""

    keys: Keys | None
    rows: FeatureBatch
    cursor: int


class FeatureImport(NamedTuple):
    """Set rows of a feature table to what they were elsewhere, as `Import`; `columns` as of
    `FeatureAssign`. Reply: `Done`."""

    table: str
    keys: Keys
    columns: pa.RecordBatch
    meta: Meta
    producers: tuple[str, ...]
    producer: str
    write: WriteId


# --- how new the rows are --------------------------------------------------------------------


class Announce(NamedTuple):
    """Say that all rows of part `part` of `parts` of a table, as far as makers make them, come
    from checkpoints of `step` or later. Reply: `Done`."""

    table: str
    part: int
    parts: int
    step: int
    producer: str
    write: WriteId


class LatestKnowledge(NamedTuple):
    """How new the rows of a table are by what was announced. Waits up to `wait_s` seconds for
    step `at_least`, and says then what there is. Reply: `KnowledgeInfo`."""

    table: str
    at_least: int
    wait_s: float


@dataclass(frozen=True)
class KnowledgeInfo:
    """How new the rows of a table are: all that makers make come from checkpoints of `step` or
    later; -1 while that was not announced for all parts.

    `part` of `parts` is the oldest one, or one that is missing still (0 of 0: nothing was ever
    announced); `producer` announced it, `age` seconds ago ("" and 0 if it is missing).
    """

    step: int
    part: int
    parts: int
    producer: str
    age: float


# --- models ---------------------------------------------------------------------------------


class PublishModel(NamedTuple):
    """One part of a checkpoint, safetensors bytes; it is published when the last part arrives,
    if the whole has the SHA-256 `digest`. Parts of one checkpoint come in order, each with
    a sequence number of its own, `table` being the model's name in `WriteId` terms.
    Reply: `Done`."""

    model: str
    step: int
    keep: int
    part: int
    parts: int
    digest: str
    data: bytes
    producer: str
    write: WriteId


class LatestModel(NamedTuple):
    """The newest checkpoint with a step above `newer_than` (None: any). Waits up to `wait_s`
    seconds for one. Reply: `ModelInfo` or `NoModel`."""

    model: str
    newer_than: int | None
    wait_s: float


class FetchModel(NamedTuple):
    """Part `part` of checkpoint `version`. Reply: `ModelPart`."""

    model: str
    version: int
    part: int


class ListModels(NamedTuple):
    """Reply: list of `ModelInfo`, the newest of each model, by name."""


@dataclass(frozen=True)
class ModelInfo:
    """A checkpoint: `version` counts publications from 1, `age` in seconds, size in bytes."""

    name: str
    version: int
    step: int
    age: float
    producer: str
    nbytes: int
    parts: int
    digest: str


@dataclass(frozen=True)
class BankStatus:
    """A bank and all that is in it: `tables` and the newest checkpoint of each of `models`, by
    name; the rest as in `BankInfo`."""

    id: str
    version: str
    uptime_s: float
    durable: bool
    tables: tuple[TableStatistics, ...]
    models: tuple[ModelInfo, ...]

    def to_json(self) -> dict[str, Any]:
        """The status as JSON-able facts."""
        tables = [table.to_json() for table in self.tables]
        return vars(self) | {"tables": tables, "models": [dict(vars(model)) for model in self.models]}


class NoModel(NamedTuple):
    """There is no checkpoint that is new enough."""


class ModelPart(NamedTuple):
    """Bytes of one part of a checkpoint."""

    data: bytes


Request: TypeAlias = (
    OpenTable
    | SetLearningRate
    | ListTables
    | DescribeTable
    | DropTable
    | DescribeBank
    | FetchStatistics
    | FetchStatus
    | Lookup
    | Assign
    | PushGradients
    | Erase
    | Scan
    | Export
    | Import
    | FeatureLookup
    | FeatureAssign
    | FeatureScan
    | FeatureImport
    | Announce
    | LatestKnowledge
    | PublishModel
    | LatestModel
    | FetchModel
    | ListModels
)
Reply: TypeAlias = (
    TableInfo
    | list[TableInfo]
    | BankInfo
    | TableStatistics
    | BankStatus
    | Done
    | RowBatch
    | Erased
    | ScanPage
    | FeatureBatch
    | FeaturePage
    | KnowledgeInfo
    | ModelInfo
    | list[ModelInfo]
    | NoModel
    | ModelPart
)
