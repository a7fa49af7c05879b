"""StoredSide: what one tower's rows in a bank are worth at a step."""

from __future__ import annotations

import math

import numpy as np
import torch

from carls.keys import Int64s
from carls.messages import Bools
from carls.torch.local_copy import CopiedRows
from carls.torch.transfer import to_device

#: The score of what is left out: finite, so that leaving out everything has a gradient, of 0.
OUT = -1e9


class StoredSide:
    """The rows of one table on the device.

    Attributes:
        rows: (N, dim) float32, of length 1.
        usable: (N,) bool, at the step of the last `look`, as are the others.
        weight: (N,) float32 v, 0 where not usable.
        offsets: (N,) float32 log v on the device; None where all are 0.
    """

    def __init__(self, copied: CopiedRows, device: torch.device) -> None:
        self._copied = copied
        self.rows = to_device(copied.directions(), device)
        self.usable: Bools = np.zeros(len(self.rows), bool)
        self._looked = False

    def look(
        self, step: int, max_age_steps: int | None, max_age_s: float | None, half_life: float | None
    ) -> None:
        """See what may be used at a step; without bounds and half-life that stays as it is."""
        if self._looked and max_age_steps is None and max_age_s is None and half_life is None:
            return
        self._looked = True
        self.usable = self._copied.usable(step, max_age_steps, max_age_s)
        logs = np.where(self.usable, np.float32(0), np.float32(OUT))
        if half_life is not None:
            ages = np.maximum(step - self._copied.rows.step, 0)
            logs -= (ages * (math.log(2) / half_life)).astype(np.float32)
        self.weight = np.exp(logs)
        self.offsets = to_device(logs, self.rows.device) if logs.any() else None

    def staleness(self, step: int) -> Int64s:
        """`step` less the row's, of each usable row whose writer said one."""
        steps = self._copied.rows.step[self.usable]
        ages: Int64s = step - steps[steps >= 0]
        return ages
