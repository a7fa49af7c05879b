"""Requests about the rows of feature tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from carls.bank import walks
from carls.bank.features import FeatureTable
from carls.bank.handlers.family import TableFamily
from carls.messages import (
    FeatureAssign,
    FeatureBatch,
    FeatureImport,
    FeatureLookup,
    FeaturePage,
    FeatureScan,
    Reply,
)


class FeatureHandlers(TableFamily):
    """Reads and writes typed columns."""

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {
            FeatureLookup: self._lookup,
            FeatureAssign: self._assign,
            FeatureScan: self._scan,
            FeatureImport: self._import,
        }

    def _table(self, request: Any) -> FeatureTable:
        return self._catalog.find_as(request.table, FeatureTable)

    def _lookup(self, request: FeatureLookup) -> FeatureBatch:
        columns, meta = self._table(request).lookup(
            request.keys, request.bound, self._writes.clock.ticks(), request.reader
        )
        return FeatureBatch(columns, meta, self._writes.producers.names(request.known_producers))

    def _assign(self, request: FeatureAssign) -> Reply:
        table = self._table(request)
        return self._writes.stamped(request, table, partial(table.assign, request.keys, request.columns))

    def _scan(self, request: FeatureScan) -> FeaturePage:
        table = self._table(request)
        return walks.feature_scan(table, request, self._writes.clock.ticks(), self._writes.producers)

    def _import(self, request: FeatureImport) -> Reply:
        table = self._table(request)
        return self._writes.restored(request, table, partial(table.restore, request.keys, request.columns))
