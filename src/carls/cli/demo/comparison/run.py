"""Run: what came of one training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Run:
    """One training run.

    Attributes:
        curve: (k, 3): step, seconds of training until then, score on the test data in percent.
        staleness: int64, (trainer step - row step) of every row used; empty without a bank.
        left_out: mean share of rows that could not be used, 0 to 1.
        waited_s: seconds of waiting for the maker.
        others: what else was measured after the last step, in percent, by name.
    """

    curve: npt.NDArray[np.float64]
    staleness: npt.NDArray[np.int64]
    left_out: float
    waited_s: float
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """On the test data after the last step, in percent."""
        return float(self.curve[-1, 2])

    @property
    def best_score(self) -> float:
        """The highest on the way, in percent: what stopping in time could give, chosen on test data."""
        return float(self.curve[:, 2].max())

    @property
    def steps_per_s(self) -> float:
        """Steps a second, with publishing and waiting, without tests."""
        return float(self.curve[-1, 0] / self.curve[-1, 1])

    def seconds_to(self, score: float) -> float:
        """Seconds of training until the first test of at least so many percent; infinity: never."""
        reached = np.flatnonzero(self.curve[:, 2] >= score)
        return float(self.curve[reached[0], 1]) if len(reached) else float("inf")
