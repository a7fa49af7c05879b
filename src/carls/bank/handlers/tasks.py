"""Requests about tables of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from carls.bank.checks import check_producer
from carls.bank.handlers.family import TableFamily
from carls.bank.tally import Written
from carls.bank.task_matrix import TaskMatrix
from carls.bank.tasks import TaskTable
from carls.errors import InvalidRequestError
from carls.messages import (
    Done,
    FetchTaskHistory,
    FetchTaskModels,
    FetchTaskState,
    JoinTask,
    LeaveTask,
    NoPull,
    Pull,
    PullTask,
    Pushed,
    PushTask,
    Reply,
    TaskHistory,
    TaskModels,
    TaskPushed,
    TaskState,
)
from carls.specs import Profile

#: Characters of a node's own name.
MAX_NODE = 64


class TaskHandlers(TableFamily):
    """Gives task nodes what they work on, and takes what they find."""

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {
            JoinTask: self._join,
            LeaveTask: self._leave,
            PullTask: self._pull,
            PushTask: self._push,
            FetchTaskModels: self._models,
            FetchTaskState: self._state,
            FetchTaskHistory: self._history,
        }

    def _table(self, request: Any) -> TaskTable:
        return self._catalog.find_as(request.table, TaskTable)

    def _matrix(self, request: Any) -> TaskMatrix:
        return self._table(request).matrix

    def _join(self, request: JoinTask) -> Reply:
        table = self._table(request)

        def apply() -> Done:
            lipschitz = math.inf if request.lipschitz is None else request.lipschitz
            last = None
            if len(request.model) or len(request.column) or request.mu:
                last = Pull(0, request.mu, request.model, request.column, request.tasks)
            if len(request.node) > MAX_NODE:
                raise InvalidRequestError(
                    f"node={request.node!r:.60}: expected a name of at most {MAX_NODE} characters"
                )
            profile, producer = Profile(request.ridge_norm, lipschitz), check_producer(request.producer)
            table.matrix.join(request.task, profile, last, request.node, producer)
            return Done()

        return self._writes.once(request, table, apply)

    def _leave(self, request: LeaveTask) -> Reply:
        table = self._table(request)

        def apply() -> Done:
            table.matrix.leave(request.task)
            return Done()

        return self._writes.once(request, table, apply)

    def _pull(self, request: PullTask) -> Pull | NoPull:
        pull = self._matrix(request).pull(request.task, request.wait_s, request.node)
        return NoPull() if pull is None else pull

    def _push(self, request: PushTask) -> Reply:
        """The pull's number, not a ledger, sees to it that it is applied once; it counts as all writes do."""
        table, producer = self._table(request), check_producer(request.producer)
        outcome = Pushed.DUPLICATE

        def new() -> TaskPushed:
            if outcome is Pushed.APPLIED:
                table.tally.wrote(producer, -1, self._writes.clock.ticks(), Written(1))
            return TaskPushed(outcome.value)

        def push(new: Callable[[], Reply]) -> Reply:
            nonlocal outcome
            outcome = table.matrix.push(
                request.task, request.sequence, request.correction, request.evidence, request.node
            )
            return TaskPushed(outcome.value) if outcome is Pushed.DUPLICATE else new()

        return table.tally.write(new, push)

    def _models(self, request: FetchTaskModels) -> TaskModels:
        return self._matrix(request).models()

    def _state(self, request: FetchTaskState) -> TaskState:
        return self._matrix(request).state()

    def _history(self, request: FetchTaskHistory) -> TaskHistory:
        return TaskHistory.of(self._matrix(request).history)
