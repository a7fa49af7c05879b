"""School: the examination scores of the pupils of 139 schools in London."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carls.cli.demo.data_file import DataFile
from carls.errors import CarlsError

FILE = DataFile("School", Path("school") / "school.npz")
_ORIGIN = (
    "It has x (15362, 28), y and task (15362,): the features, scores and schools of school.mat in the MALSAR "
    "package"
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pupils:
    """Pupils by school.

    Attributes:
        features: of each school, (pupils, 28): year, shares of the school's pupils, sex, group in a test
            of verbal reasoning, ethnic group, kind of school; the last one is 1.
        scores: of each school, (pupils,).
    """

    features: Sequence[Floats]
    scores: Sequence[Floats]

    @property
    def schools(self) -> list[str]:
        """Their names: "0", "1", ..."""
        return [str(number) for number in range(len(self.scores))]

    @property
    def count(self) -> int:
        """How many pupils there are."""
        return sum(map(len, self.scores))

    @property
    def pooled(self) -> Pupils:
        """All pupils as those of one school."""
        return Pupils([np.concatenate(self.features)], [np.concatenate(self.scores)])

    def of_first(self, schools: int) -> Pupils:
        """The first `schools` schools alone."""
        return Pupils(self.features[:schools], self.scores[:schools])

    def split(self, seed: int, share: float = 0.75) -> tuple[Pupils, Pupils]:
        """A `share` of each school's pupils, drawn by `seed`, and the others."""
        random = np.random.default_rng(seed)
        orders = [random.permutation(len(scores)) for scores in self.scores]
        cuts = [round(share * len(order)) for order in orders]
        kept = self._rows([order[:cut] for order, cut in zip(orders, cuts, strict=True)])
        return kept, self._rows([order[cut:] for order, cut in zip(orders, cuts, strict=True)])

    def _rows(self, rows: Sequence[npt.NDArray[np.int64]]) -> Pupils:
        return Pupils(
            [features[some] for features, some in zip(self.features, rows, strict=True)],
            [scores[some] for scores, some in zip(self.scores, rows, strict=True)],
        )

    def explained(self, models: Floats) -> float:
        """The share of these pupils' variance that models explain, a column (28,) for each school: at most 1.

        1 - var(score - prediction) / var(score), over all pupils together.
        """
        columns = zip(self.features, models.T, strict=True)
        errors = np.concatenate(self.scores) - np.concatenate([x @ model for x, model in columns])
        return float(1 - np.var(errors) / np.var(np.concatenate(self.scores)))


def load() -> Pupils:
    """School, where `DataFile` finds it. Percentages become shares.

    Raises:
        CarlsError: it is nowhere, or what is there cannot be read.
    """
    arrays = FILE.read(("x", "y", "task"), _ORIGIN)
    x, y, task = arrays["x"].astype(np.float64), arrays["y"].astype(np.float64), arrays["task"]
    finite = np.isfinite(x).all() and np.isfinite(y).all()
    if x.ndim != 2 or y.shape != (len(x),) or task.shape != y.shape or not finite:
        raise CarlsError(
            f"{FILE.find()}: x {x.shape}, y {y.shape}, task {task.shape}: expected (n, features), (n,) and "
            "(n,), all finite; remove it or replace it"
        )
    # All features but two are 0 or 1.
    x /= np.where(x.max(axis=0) > 1, 100.0, 1.0)
    rows = [np.flatnonzero(task == school) for school in np.unique(task)]
    return Pupils([x[some] for some in rows], [y[some] for some in rows])
