"""How the samples of many tasks lie in the X and y of an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from carls.errors import InvalidValueError


class Parts(NamedTuple):
    """The samples of each task; `targets` and `weights` are None where there are none.

    Attributes:
        tasks: their labels, in the order of the parts.
    """

    tasks: list[Any]
    features: list[Any]
    targets: list[Any] | None
    weights: list[Any] | None


class Layout(Protocol):
    """A way in which samples lie."""

    def split(self, features: Any, targets: Any, weights: Any) -> Parts:
        """The samples of each task."""
        ...

    def assemble(self, features: Any, parts: Parts, predictions: Sequence[Any]) -> Any:
        """Predictions for each part, laid out as the features are."""
        ...


class Separate:
    """X and y are lists with an array for each task; tasks are labelled 0, 1, ..."""

    def split(self, features: Any, targets: Any, weights: Any) -> Parts:
        for name, given in (("y", targets), ("sample_weight", weights)):
            if given is not None and (not isinstance(given, (list, tuple)) or len(given) != len(features)):
                raise InvalidValueError(
                    f"X is a list of {len(features)} arrays: expected {name} to be a list of as many"
                )
        return Parts(
            list(range(len(features))),
            list(features),
            None if targets is None else [np.asarray(part) for part in targets],
            None if weights is None else [np.asarray(part) for part in weights],
        )

    def assemble(self, features: Any, parts: Parts, predictions: Sequence[Any]) -> list[Any]:
        del features, parts
        return list(predictions)


class Labelled:
    """X is one array, a column of which holds the task's label; y is (n,).

    Args:
        column: its number.
    """

    def __init__(self, column: int) -> None:
        self._column = column

    def split(self, features: Any, targets: Any, weights: Any) -> Parts:
        columns = features.shape[1]
        if not -columns <= self._column < columns:
            raise InvalidValueError(f"task_column={self._column}: X has {columns} columns")
        chosen = features[:, [self._column]]
        labels = (chosen.toarray() if hasattr(chosen, "toarray") else chosen)[:, 0]
        others = [index for index in range(columns) if index != self._column % columns]
        tasks = np.unique(labels)
        rows = [np.flatnonzero(labels == task) for task in tasks]
        plain = features[:, others]
        return Parts(
            tasks.tolist(),
            [plain[row] for row in rows],
            None if targets is None else [targets[row] for row in rows],
            None if weights is None else [weights[row] for row in rows],
        )

    def assemble(self, features: Any, parts: Parts, predictions: Sequence[Any]) -> Any:
        chosen = features[:, [self._column]]
        labels = (chosen.toarray() if hasattr(chosen, "toarray") else chosen)[:, 0]
        joined = np.concatenate(predictions)
        found = np.empty(len(labels), joined.dtype)
        for task, part in zip(parts.tasks, predictions, strict=True):
            found[labels == task] = part
        return found


class Shared:
    """All tasks have the same X; y is (n, tasks), NaN where missing, or (n,) for one task.

    Args:
        tasks: how many there are, once that is known.
        flat: whether predictions are (n,).
    """

    def __init__(self, tasks: int, *, flat: bool) -> None:
        self._tasks, self._flat = tasks, flat

    def split(self, features: Any, targets: Any, weights: Any) -> Parts:
        table = None if targets is None else targets.reshape(len(targets), -1)
        if table is not None and table.shape[1] != self._tasks:
            raise InvalidValueError(
                f"y has {table.shape[1]} columns: expected {self._tasks}, one for each task"
            )
        return Parts(
            list(range(self._tasks)),
            [features] * self._tasks,
            None if table is None else list(table.T),
            None if weights is None else [weights] * self._tasks,
        )

    def assemble(self, features: Any, parts: Parts, predictions: Sequence[Any]) -> Any:
        del features, parts
        return predictions[0] if self._flat else np.stack(predictions, axis=1)
