"""The bank's clock: ages are measured by it and by nothing else."""

from __future__ import annotations

import time

#: Ticks per second; the core keeps the time of a row's last write in 40 bits of ticks.
TICKS_PER_S = 10_000


#: Ticks at the bank's start, 318 days: rows that are moved to a bank keep their age up to there.
#: 2.6 years are left of the 40 bits.
_START = 1 << 38


class Clock:
    """Counts on from the bank's start; steps of the machine's wall clock do not touch it."""

    def __init__(self) -> None:
        self._start_ns = time.monotonic_ns()

    def ticks(self) -> int:
        """Ticks of 0.1 ms, 2**38 at the start."""
        return (time.monotonic_ns() - self._start_ns) // 100_000 + _START

    def seconds(self) -> float:
        """Seconds since the start."""
        return (time.monotonic_ns() - self._start_ns) * 1e-9
