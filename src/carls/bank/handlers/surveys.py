"""Requests about what a maker's schedule has to know of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank import walks
from carls.bank.handlers.family import TableFamily
from carls.bank.keyed import KeyedTable
from carls.messages import Reply, Survey, SurveyBatch


class SurveyHandlers(TableFamily):
    """Tells how old rows are, and how much they are asked for."""

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {Survey: self._survey}

    def _survey(self, request: Survey) -> SurveyBatch:
        table: Any = self._catalog.find_as(request.table, KeyedTable)
        meta = walks.survey(table, request.keys, self._writes.clock.ticks())
        names = self._writes.producers.names(request.known_producers)
        return SurveyBatch(meta, table.demand.of(request.keys), names)
