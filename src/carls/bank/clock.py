"""The bank's clock: ages are measured by it and by nothing else."""

from __future__ import annotations

import time

#: Ticks per second; the core keeps the time of a row's last write in 40 bits of ticks.
TICKS_PER_S = 10_000


class Clock:
    """Counts from the bank's start; steps of the machine's wall clock do not touch it."""

    def __init__(self) -> None:
        self._start_ns = time.monotonic_ns()

    def ticks(self) -> int:
        """Ticks of 0.1 ms since the start, at least 1."""
        return (time.monotonic_ns() - self._start_ns) // 100_000 + 1

    def seconds(self) -> float:
        """Seconds since the start."""
        return (time.monotonic_ns() - self._start_ns) * 1e-9
