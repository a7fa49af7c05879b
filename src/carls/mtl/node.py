"""TaskNode: one task on private data, coupled with others through a bank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from carls.client import Bank, TaskTable
from carls.mtl.losses import Vector
from carls.mtl.participant import NodeProgress, Participant
from carls.mtl.runner import NodeRunner
from carls.mtl.tasks import make_task


class TaskNode(NodeRunner):
    """Solves its own problem on its own data, again and again, coupled with other tasks through a bank.

    It joins a table, pulls, solves, pushes the correction, and begins again. Its data stay here: what
    travels are model vectors, and a few scalars for each push. A bank that goes away, comes
    back empty or has not the table yet interrupts the node only: it waits with growing pauses and joins
    again. Any other exception stops the node and is raised, once, at its owner's next call.

    A node that stops leaves its column in the table as it is: the others go on, coupled to it, and it goes on
    from there when it is back. `leave()` takes the column out. Where nothing changes any more a node
    rests: the pauses between its updates grow to a second, and end when its model moves.

    Run it in this thread with `run()`, or in one of its own with `start()` and `stop()` or as a context
    manager. `TaskNodes` runs many in one process.

    Args:
        bank: a `Bank`, which stays its owner's, or the URL of one, for a connection of its own. Not
            used, and may be None, where `table` is a handle.
        table: the name of a task table, which somebody opens with `bank.tasks(...)`, or a handle of it.
        task: name of this task: 1 to 128 letters, digits and `_ . : -`.
        X: features (n, dim), dense or scipy.sparse, in the same order at every node.
        y: targets (n,); NaN where missing; -1 and 1 for losses of classification.
        loss: "least_squares", "logistic", "squared_hinge", or as for `make_task`.
        weights: of the samples, (n,), at least 0; all 1 by default.
        fit_intercept: whether a number that is not penalised is added to predictions.
        delay: draws the seconds from a pull to its push, on top of what the solve takes: a slower
            network or node, for experiments and tests. None: none.

    Raises:
        InvalidRequestError, InvalidSpecError: an argument that cannot be.
        InvalidValueError: samples that cannot be.
    """

    def __init__(
        self,
        bank: Bank | str | None,
        table: TaskTable | str,
        task: str,
        X: Any,
        y: npt.ArrayLike,
        loss: Any = "least_squares",
        *,
        weights: npt.ArrayLike | None = None,
        fit_intercept: bool = False,
        delay: Callable[[], float] | None = None,
    ) -> None:
        solver = make_task(X, y, loss, weights=weights, fit_intercept=fit_intercept)
        self._participant = Participant(task, solver, delay)
        super().__init__(bank, table, [self._participant], threads=1)

    @property
    def progress(self) -> NodeProgress:
        """What was done so far; raises the exception that stopped the node, if any, once."""
        self._raise()
        return self._participant.progress

    @property
    def model(self) -> Vector:
        """The task's column of W that was pulled last, (dim,).

        Raises:
            InvalidRequestError: none was pulled yet.
        """
        self._raise()
        return self._participant.model

    @property
    def intercept(self) -> float:
        """The best intercept for `model`, computed here, from the data; 0 without `fit_intercept`."""
        self._raise()
        return self._participant.intercept

    def predict(self, X: Any) -> Vector:
        """Predictions (n,) of features (n, dim), by `model` and `intercept`."""
        self._raise()
        return self._participant.predict(X)
