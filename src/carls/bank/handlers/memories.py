"""Requests about Gaussian memories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank.checks import check_producer
from carls.bank.handlers.family import TableFamily
from carls.bank.memories import GaussianMemory
from carls.bank.tally import Written
from carls.messages import (
    AbsorbPoints,
    Done,
    ExportMemory,
    LoadMemory,
    MemoryBatch,
    MemoryContent,
    ReadMemory,
    Reply,
)


class MemoryHandlers(TableFamily):
    """Looks points up and absorbs them."""

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {
            ReadMemory: self._read,
            AbsorbPoints: self._absorb,
            ExportMemory: self._export,
            LoadMemory: self._load,
        }

    def _memory(self, request: Any) -> GaussianMemory:
        return self._catalog.find_as(request.table, GaussianMemory)

    def _read(self, request: ReadMemory) -> MemoryBatch:
        memory = self._memory(request)
        reader = memory.tally.reader(request.reader)
        found = memory.lookup(request.points, "read")
        reader.count_points(len(found.cluster), int((found.cluster < 0).sum()))
        return found

    def _absorb(self, request: AbsorbPoints) -> Reply:
        memory = self._memory(request)

        def apply() -> MemoryBatch:
            producer, now = check_producer(request.producer), self._writes.clock.ticks()
            found = memory.lookup(request.points, "grow" if request.grow else "update")
            memory.tally.wrote(producer, -1, now, Written(len(found.cluster)))
            return found

        return self._writes.once(request, memory, apply)

    def _export(self, request: ExportMemory) -> MemoryContent:
        return self._memory(request).content()

    def _load(self, request: LoadMemory) -> Reply:
        memory = self._memory(request)

        def apply() -> Done:
            producer, now = check_producer(request.producer), self._writes.clock.ticks()
            points = memory.load(request)
            if request.part + 1 == request.parts:
                memory.tally.wrote(producer, -1, now, Written(points))
            return Done()

        return self._writes.once(request, memory, apply)
