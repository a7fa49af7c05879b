"""Requests about the rows of embedding tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from carls.bank import walks
from carls.bank.checks import check_producer
from carls.bank.embeddings import EmbeddingTable
from carls.bank.handlers.family import TableFamily
from carls.messages import (
    Assign,
    Done,
    Export,
    Import,
    Lookup,
    PushGradients,
    Reply,
    RowBatch,
    Scan,
    ScanPage,
    SetLearningRate,
)
from carls.vectors import as_dtype, check_dtype


class EmbeddingHandlers(TableFamily):
    """Reads and writes vectors."""

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {
            Lookup: self._lookup,
            Assign: self._assign,
            PushGradients: self._push_gradients,
            SetLearningRate: self._set_learning_rate,
            Scan: self._scan,
            Export: self._export,
            Import: self._import,
        }

    def _table(self, request: Any) -> EmbeddingTable:
        return self._catalog.find_as(request.table, EmbeddingTable)

    def _lookup(self, request: Lookup) -> RowBatch:
        check_dtype("dtype", request.dtype)
        values, meta = self._table(request).lookup(
            request.keys, request.create, request.bound, self._writes.clock.ticks(), request.reader
        )
        if request.dtype == "float16":
            values = as_dtype(values, "float16")
        return RowBatch(values, meta, self._writes.producers.names(request.known_producers))

    def _assign(self, request: Assign) -> Reply:
        table = self._table(request)
        return self._writes.stamped(request, table, partial(table.assign, request.keys, request.values))

    def _push_gradients(self, request: PushGradients) -> Reply:
        table = self._table(request)
        return self._writes.stamped(request, table, partial(table.push, request.keys, request.gradients))

    def _set_learning_rate(self, request: SetLearningRate) -> Reply:
        table = self._table(request)

        def apply() -> Done:
            producer = check_producer(request.producer)
            table.set_learning_rate(request.lr, request.step, producer, self._writes.clock.seconds())
            return Done()

        return self._writes.once(request, table, apply)

    def _scan(self, request: Scan) -> ScanPage:
        return walks.scan(self._table(request), request, self._writes.clock.ticks(), self._writes.producers)

    def _export(self, request: Export) -> ScanPage:
        return walks.export(self._table(request), request, self._writes.clock.ticks(), self._writes.producers)

    def _import(self, request: Import) -> Reply:
        table = self._table(request)
        return self._writes.restored(request, table, partial(table.restore, request.keys, request.records))
