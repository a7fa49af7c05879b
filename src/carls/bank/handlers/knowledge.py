"""Requests about how new the rows of a table are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank.catalog import Catalog
from carls.bank.handlers.family import TableFamily
from carls.bank.leases import Leases
from carls.bank.writes import Writes
from carls.messages import Announce, Done, KnowledgeInfo, LatestKnowledge, Reply


class KnowledgeHandlers(TableFamily):
    """Keeps what makers announce, and tells those who wait for it.

    Args:
        catalog: of the bank.
        writes: of the bank.
        leases: of the bank: who makes rows under one announces no part that it does not hold.
    """

    def __init__(self, catalog: Catalog, writes: Writes, leases: Leases) -> None:
        super().__init__(catalog, writes)
        self._leases = leases

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {Announce: self._announce, LatestKnowledge: self._latest}

    def _announce(self, request: Announce) -> Reply:
        announcements = self._catalog.find(request.table).announcements

        def apply() -> Done:
            by = self._leases.announcer(request.write.client, request.part, request.parts)
            announcements.add(request, self._writes.clock.ticks(), by)
            return Done()

        return self._writes.uncounted(request.write, request.table, apply)

    def _latest(self, request: LatestKnowledge) -> KnowledgeInfo:
        announcements = self._catalog.find(request.table).announcements
        return announcements.latest(request.at_least, request.wait_s, self._writes.clock)
