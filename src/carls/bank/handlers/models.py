"""Requests about checkpoints of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank.models import Models
from carls.bank.writes import Writes
from carls.messages import (
    Done,
    FetchModel,
    LatestModel,
    ListModels,
    ModelInfo,
    NoModel,
    PublishModel,
    Reply,
)


class ModelHandlers:
    """Takes checkpoints in and gives them out.

    Args:
        models: of the bank.
        writes: of the bank.
    """

    def __init__(self, models: Models, writes: Writes) -> None:
        self._models = models
        self._writes = writes

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        """By class of request."""
        return {
            PublishModel: self._publish,
            LatestModel: self._latest,
            FetchModel: self._models.fetch,
            ListModels: self._list,
        }

    def _publish(self, request: PublishModel) -> Reply:
        def apply() -> Done:
            self._models.publish(request)
            return Done()

        # A model's writes are never taken for a table's.
        return self._writes.uncounted(request.write, f"models/{request.model}", apply)

    def _latest(self, request: LatestModel) -> ModelInfo | NoModel:
        return self._models.latest(request.model, request.newer_than, request.wait_s, request.after)

    def _list(self, _: ListModels) -> list[ModelInfo]:
        return self._models.newest()
