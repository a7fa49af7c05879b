"""The engine: one bank's tables and models behind one method, `handle`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from carls.bank.catalog import Catalog
from carls.bank.clock import Clock
from carls.bank.handlers.embeddings import EmbeddingHandlers
from carls.bank.handlers.features import FeatureHandlers
from carls.bank.handlers.knowledge import KnowledgeHandlers
from carls.bank.handlers.leases import LeaseHandlers
from carls.bank.handlers.memories import MemoryHandlers
from carls.bank.handlers.models import ModelHandlers
from carls.bank.handlers.sampling import SamplingHandlers
from carls.bank.handlers.search import SearchHandlers
from carls.bank.handlers.surveys import SurveyHandlers
from carls.bank.handlers.tables import TableHandlers
from carls.bank.handlers.tasks import TaskHandlers
from carls.bank.indexes import Indexer
from carls.bank.leases import Leases
from carls.bank.models import Models
from carls.bank.writes import Writes
from carls.errors import CarlsError, ClosedError, ProtocolError
from carls.messages import BankInfo, BankStatus, DescribeBank, FetchStatus, Reply, Request
from carls.version import VERSION


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
        self._catalog = Catalog(self.id, self._clock)
        self._models = Models(self._clock)
        self._indexer = Indexer(self._clock)
        self._closed = False
        writes, leases = Writes(self._clock), Leases(self._clock)
        self._handlers: dict[type, Callable[[Any], Reply]] = {
            DescribeBank: self._describe,
            FetchStatus: self._status,
            **TableHandlers(self.id, self._catalog, writes).handlers(),
            **EmbeddingHandlers(self._catalog, writes).handlers(),
            **SamplingHandlers(self._catalog, writes).handlers(),
            **FeatureHandlers(self._catalog, writes).handlers(),
            **MemoryHandlers(self._catalog, writes).handlers(),
            **TaskHandlers(self._catalog, writes).handlers(),
            **SearchHandlers(self._catalog, writes, self._indexer).handlers(),
            **SurveyHandlers(self._catalog, writes).handlers(),
            **KnowledgeHandlers(self._catalog, writes, leases).handlers(),
            **LeaseHandlers(leases, writes).handlers(),
            **ModelHandlers(self._models, writes).handlers(),
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
        self._catalog.close()
        self._indexer.close()

    def _describe(self, _: DescribeBank) -> BankInfo:
        names = tuple(table.name for table in self._catalog.all())
        return BankInfo(self.id, VERSION, self._clock.seconds(), False, names)

    def _status(self, _: FetchStatus) -> BankStatus:
        tables = tuple(table.statistics(self._clock.ticks()) for table in self._catalog.all())
        models = tuple(self._models.newest())
        return BankStatus(self.id, VERSION, self._clock.seconds(), False, tables, models)
