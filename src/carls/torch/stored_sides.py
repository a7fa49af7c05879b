"""StoredSides: what both towers' rows in a bank are worth at a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from carls.errors import InvalidValueError
from carls.keys import Int64s
from carls.messages import Bools
from carls.torch.local_copy import Copied, CopiedRows
from carls.torch.transfer import to_device

#: The score of what is left out: finite, so that leaving out everything has a gradient, of 0.
OUT = -1e9


@dataclass(frozen=True)
class Ages:
    """What age does to a row.

    Attributes:
        max_age_steps: rows made more than so many steps before are left out; None: no bound.
        max_age_s: rows written more than so many seconds ago are left out; None: no bound.
        half_life_steps: a row counts half as much after so many steps; None: the same at any age.

    Raises:
        InvalidValueError: a number that cannot be.
    """

    max_age_steps: int | None
    max_age_s: float | None
    half_life_steps: float | None

    def __post_init__(self) -> None:
        steps = self.max_age_steps
        if steps is not None and not (isinstance(steps, int) and steps >= 0):
            raise InvalidValueError(
                f"max_age_steps={steps!r}: expected an integer >= 0, or None for no bound"
            )
        for name in ("max_age_s", "half_life_steps"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise InvalidValueError(f"{name}={value!r}: expected a finite number > 0, or None")

    @property
    def matter(self) -> bool:
        """Whether rows are worth less as they get older."""
        return not (self.max_age_steps is self.max_age_s is self.half_life_steps is None)


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

    def look(self, step: int, ages: Ages) -> None:
        """See what may be used at a step."""
        self.usable: Bools = self._copied.usable(step, ages.max_age_steps, ages.max_age_s)
        logs = np.where(self.usable, np.float32(0), np.float32(OUT))
        if ages.half_life_steps is not None:
            elapsed = np.maximum(step - self._copied.rows.step, 0)
            logs -= (elapsed * (math.log(2) / ages.half_life_steps)).astype(np.float32)
        self.weight = np.exp(logs)
        self.offsets = to_device(logs, self.rows.device) if logs.any() else None
        steps = self._copied.rows.step[self.usable]
        self._steps: Int64s = steps[steps >= 0]

    def staleness(self, step: int) -> Int64s:
        """`step` less the row's, of each usable row whose writer said one."""
        elapsed: Int64s = step - self._steps
        return elapsed


class StoredSides:
    """Both tables' rows, of one reading.

    Attributes:
        copied: the reading.
        device: where the rows are.
        first: the first table's rows, as of the last `look`; `second` likewise.
        known: (2,) share of rows of each that can be used.
    """

    def __init__(self, copied: Copied, device: torch.device) -> None:
        self.copied, self.device = copied, device
        self.first, self.second = [StoredSide(rows, device) for rows in copied.sides]
        self._looked = False

    def look(self, step: int, ages: Ages) -> StoredSides:
        """See what may be used at a step; gives itself."""
        if ages.matter or not self._looked:
            for side in (self.first, self.second):
                side.look(step, ages)
            self.known = np.array([self.first.usable.mean(), self.second.usable.mean()])
            self._looked = True
        return self

    def staleness(self, step: int) -> Int64s:
        """Of both tables' rows."""
        return np.concatenate([self.first.staleness(step), self.second.staleness(step)])
