"""Tables of tasks of the engine."""

from __future__ import annotations

import os
import time

from carls.bank.tables import Table
from carls.bank.task_matrix import TaskMatrix
from carls.specs import TaskSpec
from carls.statistics import TaskStatistics


class TaskTable(Table[TaskSpec]):
    """One table of tasks: a task matrix with a name.

    Its clock starts with it. Pulls are numbered from a random number on, so that no answer to a pull of
    another table, such as one of this name that was dropped, is taken for one of this.

    Attributes:
        matrix: that couples the tasks.
    """

    def __init__(self, name: str, spec: TaskSpec) -> None:
        super().__init__(name, spec)
        began = time.monotonic()
        self.matrix = TaskMatrix(
            spec.dim,
            spec.regularizer,
            spec.rho,
            spec.algorithm,
            clock=lambda: time.monotonic() - began,
            start=int.from_bytes(os.urandom(6), "big"),
        )

    def close(self) -> None:
        super().close()
        self.matrix.close()

    @property
    def task_statistics(self) -> TaskStatistics:
        """How far it is."""
        state = self.matrix.state()
        return TaskStatistics(
            tasks=len(state.nodes),
            updates=state.updates,
            duplicates=state.duplicates,
            superseded=state.superseded,
            epochs=state.epochs,
            objective=None if state.gap is None else state.gap.objective,
            bound=None if state.gap is None else state.gap.bound,
        )

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes

    def __len__(self) -> int:
        return len(self.matrix.tasks)
