"""What rows that were fetched ahead had missed when they were read."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.plan import Indices
from carls import Rows


class Staleness:
    """Compares what rows say about themselves with what one trainer, the only writer, has pushed.

    Args:
        rows: of the table, keys 0 to rows - 1, each written once before training.

    Attributes:
        ages: for each step, trainer's step minus row's step, of the rows that were pushed to before.
        missed: for each step, pushes of the trainer that each row did not have yet.
    """

    def __init__(self, rows: int) -> None:
        self.ages: list[Any] = []
        self.missed: list[Any] = []
        self._writes = np.ones(rows, np.int64)

    def add(self, step: int, keys: Indices, rows: Rows) -> None:
        """Add a step that read distinct `keys` and pushed to each of them."""
        self.ages.append(step - rows.step[rows.step >= 0])
        self.missed.append(self._writes[keys] - rows.version)
        self._writes[keys] += 1
