"""Budget: how many rows a second a maker writes."""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Callable
from typing import Any

from carls.errors import InvalidRequestError


class Budget:
    """A token bucket: rows are paid for after they were written, and the next ones wait until that is done.

    What is not spent is kept for a second. Over any time t no more than rows_per_s * (t + 1) rows are
    written, and a batch.

    Args:
        rows_per_s: above 0; None: any number.
        clock: gives seconds.

    Raises:
        InvalidRequestError: no such number.
    """

    def __init__(self, rows_per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = check_rate(rows_per_s)
        self._clock = clock
        self._rows = 0.0
        self._at = clock()

    def spend(self, rows: int) -> None:
        """So many rows were written."""
        self._fill()
        self._rows -= rows

    def wait_s(self) -> float:
        """Seconds until the next rows may be written; 0.0: now."""
        self._fill()
        return max(-self._rows / self._rate, 0.0)

    def batch(self, most: int) -> int:
        """Rows to make at a time, at most so many: what a second allows, so that waits stay short."""
        return int(max(1, min(most, self._rate)))

    def _fill(self) -> None:
        now = self._clock()
        if self._rate < math.inf:
            self._rows = min(self._rows + self._rate * (now - self._at), self._rate)
        else:
            self._rows = 0.0
        self._at = now


def check_rate(rows_per_s: Any) -> float:
    """`rows_per_s` as a number above 0, infinity for None.

    Raises:
        InvalidRequestError: it is none.
    """
    if rows_per_s is None:
        return math.inf
    good = isinstance(rows_per_s, numbers.Real) and not isinstance(rows_per_s, bool)
    if not good or not 0 < float(rows_per_s) < math.inf:
        raise InvalidRequestError(
            f"rows_per_s={rows_per_s!r:.60}: expected a number above 0, or None for no limit"
        )
    return float(rows_per_s)
