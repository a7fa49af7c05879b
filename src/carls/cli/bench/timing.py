"""Timing of calls, interleaved with their yardsticks so that a noisy machine hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.cli.results import Result

#: Calls of one case before the next case's turn; the first ones of a block are not counted.
BLOCK, WARM = 22, 2


def interleave(
    cases: Mapping[str, Callable[[int], Any]], calls: int, *, progress: Callable[[], None]
) -> dict[str, npt.NDArray[np.float64]]:
    """Seconds of at least `calls` calls of each case, case by case in warm blocks of 20.

    Each case is called with the number of the call, to choose its keys by.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    number = 0
    while len(seconds[next(iter(seconds))]) < calls:
        for name, call in cases.items():
            for turn in range(BLOCK):
                start = time.perf_counter()
                call(number + turn)
                if turn >= WARM:
                    seconds[name].append(time.perf_counter() - start)
        number += BLOCK
        progress()
    return {name: np.array(values) for name, values in seconds.items()}


def summarize(
    times: Mapping[str, npt.NDArray[np.float64]],
    batch: int,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> list[Result]:
    """Median, p99 and rows per second of each case, and how the rates of pairs of cases compare.

    Args:
        times: seconds of the calls of each case.
        batch: rows of a call.
        pairs: a case, and the case that it is compared with; by default the first case against
            each other one. `ratio` is 1.0 where it is as fast, 2.0 where it is twice as fast.
    """
    results = []
    for name, values in times.items():
        median, quartiles = float(np.median(values)), np.percentile(values, [25, 75])
        spread = float(quartiles[1] - quartiles[0]) / 1.349  # of a normal distribution: its sd
        n = len(values)
        results.append(Result(name, "median call", median * 1e3, "ms", spread * 1e3, n))
        results.append(Result(name, "p99 call", float(np.percentile(values, 99)) * 1e3, "ms", None, n))
        results.append(Result(name, "rate", batch / median, "rows/s", None, n))
    if pairs is None:
        headline, *yardsticks = times
        pairs = [(headline, other) for other in yardsticks]
    for name, other in pairs:
        mine, its = float(np.median(times[name])), float(np.median(times[other]))
        results.append(
            Result(name, "rate", batch / mine, "rows/s", None, len(times[name]), other, its / mine)
        )
    return results
