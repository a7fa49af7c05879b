"""Messages: every request that a bank understands and every reply it gives.

A request means the same whether it is handed to an engine in this process or crosses the
wire: `carls.bank.Engine.handle(request)` gives the reply. Transports only carry messages.

Requests with a `write` are applied exactly once: the bank keeps, per (client, table), the
highest sequence number that it has seen and that write's reply.
"""

from __future__ import annotations

from typing import TypeAlias

from carls.messages.banks import BankInfo, BankStatus, DescribeBank, FetchStatus
from carls.messages.coupling import (
    Epoch,
    Evidence,
    Gap,
    Pull,
    Pushed,
    TaskModels,
    TaskNodeState,
    TaskState,
)
from carls.messages.embeddings import Assign, Export, Import, Lookup, PushGradients, RowBatch, Scan, ScanPage
from carls.messages.features import (
    FeatureAssign,
    FeatureBatch,
    FeatureImport,
    FeatureLookup,
    FeaturePage,
    FeatureScan,
)
from carls.messages.knowledge import Announce, KnowledgeInfo, LatestKnowledge
from carls.messages.leases import EndLease, LeaseInfo, LeaseShares, RenewLease
from carls.messages.memories import (
    AbsorbPoints,
    ExportMemory,
    LoadMemory,
    MemoryBatch,
    MemoryContent,
    MemoryCounts,
    ReadMemory,
)
from carls.messages.models import (
    FetchModel,
    LatestModel,
    ListModels,
    ModelInfo,
    ModelPart,
    NoModel,
    PublishModel,
)
from carls.messages.rows import ROW_META, AgeBound, Bools, Done, Floats, Int64s, Meta, Vectors, WriteId
from carls.messages.sampling import Sample, SampleBatch
from carls.messages.search import KeyLists, Nearest, NeighbourBatch, SetIndex
from carls.messages.surveys import Survey, SurveyBatch
from carls.messages.tables import (
    DescribeTable,
    DropTable,
    Erase,
    Erased,
    FetchStatistics,
    LearningRate,
    ListTables,
    OpenTable,
    SetLearningRate,
    TableInfo,
)
from carls.messages.tasks import (
    FetchTaskHistory,
    FetchTaskModels,
    FetchTaskState,
    JoinTask,
    LeaveTask,
    NoPull,
    PullTask,
    PushTask,
    TaskHistory,
    TaskPushed,
)
from carls.statistics import TableStatistics

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
    | Sample
    | Nearest
    | SetIndex
    | Survey
    | FeatureLookup
    | FeatureAssign
    | FeatureScan
    | FeatureImport
    | ReadMemory
    | AbsorbPoints
    | ExportMemory
    | LoadMemory
    | JoinTask
    | LeaveTask
    | PullTask
    | PushTask
    | FetchTaskModels
    | FetchTaskState
    | FetchTaskHistory
    | Announce
    | LatestKnowledge
    | LeaseShares
    | RenewLease
    | EndLease
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
    | SampleBatch
    | NeighbourBatch
    | SurveyBatch
    | FeatureBatch
    | FeaturePage
    | MemoryBatch
    | MemoryContent
    | Pull
    | NoPull
    | TaskPushed
    | TaskModels
    | TaskState
    | TaskHistory
    | KnowledgeInfo
    | LeaseInfo
    | ModelInfo
    | list[ModelInfo]
    | NoModel
    | ModelPart
)


__all__ = [
    "ROW_META",
    "AbsorbPoints",
    "AgeBound",
    "Announce",
    "Assign",
    "BankInfo",
    "BankStatus",
    "Bools",
    "DescribeBank",
    "DescribeTable",
    "Done",
    "DropTable",
    "EndLease",
    "Epoch",
    "Erase",
    "Erased",
    "Evidence",
    "Export",
    "ExportMemory",
    "FeatureAssign",
    "FeatureBatch",
    "FeatureImport",
    "FeatureLookup",
    "FeaturePage",
    "FeatureScan",
    "FetchModel",
    "FetchStatistics",
    "FetchStatus",
    "FetchTaskHistory",
    "FetchTaskModels",
    "FetchTaskState",
    "Floats",
    "Gap",
    "Import",
    "Int64s",
    "JoinTask",
    "KeyLists",
    "KnowledgeInfo",
    "LatestKnowledge",
    "LatestModel",
    "LearningRate",
    "LeaseInfo",
    "LeaseShares",
    "LeaveTask",
    "ListModels",
    "ListTables",
    "LoadMemory",
    "Lookup",
    "MemoryBatch",
    "MemoryContent",
    "MemoryCounts",
    "Meta",
    "ModelInfo",
    "ModelPart",
    "Nearest",
    "NeighbourBatch",
    "NoModel",
    "NoPull",
    "OpenTable",
    "PublishModel",
    "Pull",
    "PullTask",
    "PushGradients",
    "PushTask",
    "Pushed",
    "ReadMemory",
    "RenewLease",
    "Reply",
    "Request",
    "RowBatch",
    "Sample",
    "SampleBatch",
    "Scan",
    "ScanPage",
    "SetIndex",
    "SetLearningRate",
    "Survey",
    "SurveyBatch",
    "TableInfo",
    "TaskHistory",
    "TaskModels",
    "TaskNodeState",
    "TaskPushed",
    "TaskState",
    "Vectors",
    "WriteId",
]
