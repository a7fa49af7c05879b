"""Requests to search the rows of embedding tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank.catalog import Catalog
from carls.bank.embeddings import EmbeddingTable
from carls.bank.features import FeatureTable
from carls.bank.handlers.family import TableFamily
from carls.bank.indexes import Indexer
from carls.bank.search import nearest, parse_where
from carls.bank.writes import Writes
from carls.messages import Done, Nearest, NeighbourBatch, Reply, SetIndex
from carls.specs import IVF


class SearchHandlers(TableFamily):
    """Finds rows by what is in them.

    Args:
        catalog: of the bank.
        writes: of the bank.
        indexer: of the bank.
    """

    def __init__(self, catalog: Catalog, writes: Writes, indexer: Indexer) -> None:
        super().__init__(catalog, writes)
        self._indexer = indexer

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {Nearest: self._nearest, SetIndex: self._set_index}

    def _nearest(self, request: Nearest) -> NeighbourBatch:
        table = self._catalog.find_as(request.table, EmbeddingTable)
        where = parse_where(request.where)
        features = None if where is None else self._catalog.find_as(where.table, FeatureTable)
        found = nearest(table, request, where, features, self._writes.clock.ticks())
        table.tally.searched(len(request.queries))
        return found

    def _set_index(self, request: SetIndex) -> Done:
        table = self._catalog.find_as(request.table, EmbeddingTable)
        self._indexer.set(table, None if request.policy is None else IVF.of(request.policy))
        return Done()
