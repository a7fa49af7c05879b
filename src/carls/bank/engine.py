"""The engine: one bank's tables and models behind one method, `handle`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from carls.bank import walks
from carls.bank.checks import check_producer
from carls.bank.clock import Clock
from carls.bank.embeddings import EmbeddingTable
from carls.bank.features import FeatureTable
from carls.bank.ledger import Ledger
from carls.bank.models import Models
from carls.bank.producers import Producers
from carls.bank.tally import Written
from carls.errors import CarlsError, ClosedError, ProtocolError, SpecMismatchError, UnknownTableError
from carls.messages import (
    Announce,
    Assign,
    BankInfo,
    BankStatus,
    DescribeBank,
    DescribeTable,
    Done,
    DropTable,
    Erase,
    Erased,
    Export,
    FeatureAssign,
    FeatureBatch,
    FeatureImport,
    FeatureLookup,
    FeaturePage,
    FeatureScan,
    FetchModel,
    FetchStatistics,
    FetchStatus,
    Import,
    KnowledgeInfo,
    LatestKnowledge,
    LatestModel,
    ListModels,
    ListTables,
    Lookup,
    ModelInfo,
    NoModel,
    OpenTable,
    PublishModel,
    PushGradients,
    Reply,
    Request,
    RowBatch,
    Scan,
    ScanPage,
    SetLearningRate,
    TableInfo,
)
from carls.specs import EmbeddingSpec, FeatureSpec, TableSpec, check_name, spec_from_json
from carls.statistics import TableStatistics
from carls.vectors import as_dtype, check_dtype
from carls.version import VERSION

T = TypeVar("T", EmbeddingTable, FeatureTable)
AnyTable = EmbeddingTable | FeatureTable


class Engine:
    """A bank in memory.

    `handle` may be called from many threads. Rows are gone when the process ends.

    Attributes:
        id: 32 hex digits, new for every engine; a client that sees another id than before knows
            that the rows it knew are gone.
    """

    def __init__(self) -> None:
        self.id = os.urandom(16).hex()
        self._clock = Clock()
        self._tables: dict[str, AnyTable] = {}
        self._tables_lock = threading.Lock()
        self._producers = Producers()
        self._ledger = Ledger()
        self._models = Models(self._clock)
        self._closed = False
        self._handlers: dict[type, Callable[[Any], Reply]] = {
            Lookup: self._lookup,
            PushGradients: self._push_gradients,
            Assign: self._assign,
            Erase: self._erase,
            Scan: self._scan,
            Export: self._export,
            Import: self._import,
            FeatureLookup: self._feature_lookup,
            FeatureAssign: self._feature_assign,
            FeatureScan: self._feature_scan,
            FeatureImport: self._feature_import,
            OpenTable: self._open_table,
            SetLearningRate: self._set_learning_rate,
            ListTables: self._list_tables,
            DescribeTable: self._describe_table,
            DropTable: self._drop_table,
            DescribeBank: self._describe_bank,
            Announce: self._announce,
            LatestKnowledge: self._latest_knowledge,
            FetchStatistics: self._fetch_statistics,
            FetchStatus: self._fetch_status,
            PublishModel: self._publish_model,
            LatestModel: self._latest_model,
            FetchModel: self._models.fetch,
            ListModels: self._list_models,
        }

    def handle(self, request: Request) -> Reply:
        """Do what `request` asks and return its reply, as `carls.messages` says for each.

        Raises:
            CarlsError: and nothing was changed.
        """
        if self._closed:
            raise ClosedError(f"bank {self.id} was closed", bank=self.id)
        handler = self._handlers.get(type(request))
        if handler is None:
            raise ProtocolError(
                f"request {type(request).__name__}: not one that this bank knows", bank=self.id
            )
        try:
            return handler(request)
        except CarlsError as error:
            error.bank = error.bank or self.id
            raise

    def close(self) -> None:
        """Wake all who wait and refuse further requests; closing twice is fine."""
        self._closed = True
        self._models.close()
        with self._tables_lock:
            for table in self._tables.values():
                table.announcements.close()

    # --- tables ---

    def _open_table(self, request: OpenTable) -> TableInfo:
        name = check_name("table", request.table)
        spec = spec_from_json(request.spec)
        with self._tables_lock:
            table = self._tables.get(name)
            if table is None:
                table = self._tables[name] = _make_table(name, spec)
        table.open_keys(spec.keys)
        if not table.accepts(spec):
            raise self._mismatch(table, spec)
        return self._info(table)

    def _list_tables(self, _: ListTables) -> list[TableInfo]:
        return [self._info(table) for table in self._all_tables()]

    def _describe_table(self, request: DescribeTable) -> TableInfo:
        return self._info(self._any_table(request.table))

    def _drop_table(self, request: DropTable) -> Reply:
        def apply() -> Done:
            with self._tables_lock:
                table = self._tables.pop(request.table, None)
            if table is None:
                raise self._unknown(request.table)
            table.announcements.close()
            self._ledger.forget_table(request.table)
            return Done()

        # No table's name has a slash; drops are not among the writes to the table that goes.
        return self._ledger.apply(request.write, "tables/", apply)

    def _describe_bank(self, _: DescribeBank) -> BankInfo:
        with self._tables_lock:
            names = tuple(sorted(self._tables))
        return BankInfo(self.id, VERSION, self._clock.seconds(), False, names)

    def _fetch_statistics(self, request: FetchStatistics) -> TableStatistics:
        return self._any_table(request.table).statistics(self._clock.ticks())

    def _fetch_status(self, _: FetchStatus) -> BankStatus:
        tables = tuple(table.statistics(self._clock.ticks()) for table in self._all_tables())
        models = tuple(self._models.newest())
        return BankStatus(self.id, VERSION, self._clock.seconds(), False, tables, models)

    def _all_tables(self) -> list[AnyTable]:
        with self._tables_lock:
            return sorted(self._tables.values(), key=lambda table: table.name)

    def _info(self, table: AnyTable) -> TableInfo:
        rates = table.learning_rates(self._clock.seconds())
        return TableInfo(table.name, table.spec.to_json(), len(table), table.nbytes, self.id, rates)

    def _mismatch(self, table: AnyTable, requested: TableSpec) -> SpecMismatchError:
        rates = [list(rate) for rate in table.learning_rates(self._clock.seconds())]
        since = f", with the learning rates (lr, step, producer, age) {rates} since" if rates else ""
        return SpecMismatchError(
            f"table {table.name!r} exists with another spec. It has {table.spec.to_json()}{since}; asked for "
            f"was {requested.to_json()}. Open it with its own spec, drop it first, or choose another name",
            table=table.name,
            details={
                "existing": table.spec.to_json(),
                "requested": requested.to_json(),
                "learning_rates": rates,
            },
        )

    def _any_table(self, name: str) -> AnyTable:
        table = self._tables.get(name)
        if table is None:
            raise self._unknown(name)
        return table

    def _table(self, name: str, kind: type[T]) -> T:
        table = self._any_table(name)
        if not isinstance(table, kind):
            raise SpecMismatchError(
                f"table {name!r} is a table of kind {table.spec.kind!r}: this call needs another kind",
                table=name,
            )
        return table

    def _unknown(self, name: str) -> UnknownTableError:
        return UnknownTableError(
            f"no table {name!r} in bank {self.id}: it has {sorted(self._tables)}; open it first, for "
            "instance with bank.embeddings(name, dim=...)",
            table=name,
        )

    # --- writes ---

    def _write(
        self, request: Assign | PushGradients | FeatureAssign, table: AnyTable, write: Callable[..., Written]
    ) -> Reply:
        """Apply a write, once: `write(step, producer, now)` says what it did."""

        def apply() -> Done:
            producer, now = self._producers.number(request.producer), self._clock.ticks()
            written = write(request.step, producer, now)
            table.tally.wrote(request.producer, request.step, now, written)
            return Done()

        return self._once(request, table, apply)

    def _restore(
        self, request: Import | FeatureImport, table: AnyTable, restore: Callable[..., Written]
    ) -> Reply:
        """Set rows to what they were elsewhere, once: `restore(meta, now)` says what it did."""

        def apply() -> Done:
            producer, now, meta = check_producer(request.producer), self._clock.ticks(), request.meta.copy()
            meta["producer"] = self._producers.renumber(meta["producer"], request.producers)
            table.tally.wrote(producer, -1, now, restore(meta, now))
            return Done()

        return self._once(request, table, apply)

    def _erase(self, request: Erase) -> Reply:
        table = self._any_table(request.table)

        def apply() -> Erased:
            found = table.erase(request.keys, self._clock.ticks())
            table.tally.erased(int(found.sum()))
            return Erased(found)

        return self._once(request, table, apply)

    def _once(self, request: Any, table: AnyTable, operation: Callable[[], Reply]) -> Reply:
        apply = partial(self._ledger.apply, request.write, request.table)
        return table.tally.write(operation, apply)

    # --- embedding tables ---

    def _lookup(self, request: Lookup) -> RowBatch:
        check_dtype("dtype", request.dtype)
        table = self._table(request.table, EmbeddingTable)
        values, meta = table.lookup(
            request.keys, request.create, request.bound, self._clock.ticks(), request.reader
        )
        if request.dtype == "float16":
            values = as_dtype(values, "float16")
        return RowBatch(values, meta, self._producers.names(request.known_producers))

    def _assign(self, request: Assign) -> Reply:
        table = self._table(request.table, EmbeddingTable)
        return self._write(request, table, partial(table.assign, request.keys, request.values))

    def _push_gradients(self, request: PushGradients) -> Reply:
        table = self._table(request.table, EmbeddingTable)
        return self._write(request, table, partial(table.push, request.keys, request.gradients))

    def _set_learning_rate(self, request: SetLearningRate) -> Reply:
        table = self._table(request.table, EmbeddingTable)

        def apply() -> Done:
            producer = check_producer(request.producer)
            table.set_learning_rate(request.lr, request.step, producer, self._clock.seconds())
            return Done()

        return self._once(request, table, apply)

    def _scan(self, request: Scan) -> ScanPage:
        table = self._table(request.table, EmbeddingTable)
        return walks.scan(table, request, self._clock.ticks(), self._producers)

    def _export(self, request: Export) -> ScanPage:
        table = self._table(request.table, EmbeddingTable)
        return walks.export(table, request, self._clock.ticks(), self._producers)

    def _import(self, request: Import) -> Reply:
        table = self._table(request.table, EmbeddingTable)
        return self._restore(request, table, partial(table.restore, request.keys, request.records))

    # --- feature tables ---

    def _feature_lookup(self, request: FeatureLookup) -> FeatureBatch:
        table = self._table(request.table, FeatureTable)
        columns, meta = table.lookup(request.keys, request.bound, self._clock.ticks(), request.reader)
        return FeatureBatch(columns, meta, self._producers.names(request.known_producers))

    def _feature_assign(self, request: FeatureAssign) -> Reply:
        table = self._table(request.table, FeatureTable)
        return self._write(request, table, partial(table.assign, request.keys, request.columns))

    def _feature_scan(self, request: FeatureScan) -> FeaturePage:
        table = self._table(request.table, FeatureTable)
        return walks.feature_scan(table, request, self._clock.ticks(), self._producers)

    def _feature_import(self, request: FeatureImport) -> Reply:
        table = self._table(request.table, FeatureTable)
        return self._restore(request, table, partial(table.restore, request.keys, request.columns))

    # --- how new the rows are ---

    def _announce(self, request: Announce) -> Reply:
        announcements = self._any_table(request.table).announcements

        def apply() -> Done:
            announcements.add(request, self._clock.ticks())
            return Done()

        return self._ledger.apply(request.write, request.table, apply)

    def _latest_knowledge(self, request: LatestKnowledge) -> KnowledgeInfo:
        announcements = self._any_table(request.table).announcements
        return announcements.latest(request.at_least, request.wait_s, self._clock)

    # --- models ---

    def _publish_model(self, request: PublishModel) -> Reply:
        def apply() -> Done:
            self._models.publish(request)
            return Done()

        # No table's name has a slash, so a model's writes are never taken for a table's.
        return self._ledger.apply(request.write, f"models/{request.model}", apply)

    def _latest_model(self, request: LatestModel) -> ModelInfo | NoModel:
        return self._models.latest(request.model, request.newer_than, request.wait_s)

    def _list_models(self, _: ListModels) -> list[ModelInfo]:
        return self._models.newest()


def _make_table(name: str, spec: TableSpec) -> AnyTable:
    if isinstance(spec, EmbeddingSpec):
        return EmbeddingTable(name, spec)
    return FeatureTable(name, cast("FeatureSpec", spec))
