"""Look-ups in process by one thread and by two at once, int64 keys, a table of a million rows.

A call is the same work in both cases: two shares of look-ups, one after the other or each in a
thread of its own. So the ratio is what the second thread gains; 2 is the most. torch's embedding
on ready indices shows what it gains where there are no keys, no metadata and no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import typer

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.plan import Distribution, Plan
from benchmarks.tables import fill, integer_keys, weights
from carls.cli.bench.cases import Cases

FULL = Plan(tuple(Distribution), batch=(1024,), dim=(64,), rows=1_000_000, calls=200)
#: Look-ups of a share: enough that handing it to a thread costs next to nothing.
SHARE = 20


class Shares:
    """Two shares of look-ups.

    Args:
        look: a look-up of one batch.
        batches: that look-ups take in turn.
        pool: of two threads.
    """

    def __init__(self, look: Callable[[Any], Any], batches: list[Any], pool: ThreadPoolExecutor) -> None:
        self._look, self._batches, self._pool = look, batches, pool

    def by_one(self, call: int) -> None:
        """Both shares in one thread of the pool."""
        self._pool.submit(self._look_up, 2 * call, 2).result()

    def by_two(self, call: int) -> None:
        """Each share in a thread of its own."""
        shares = [self._pool.submit(self._look_up, 2 * call + thread, 1) for thread in range(2)]
        for share in shares:
            share.result()

    def _look_up(self, first: int, shares: int) -> None:
        look, batches = self._look, self._batches
        for place in range(first * SHARE, (first + shares) * SHARE):
            look(batches[place % len(batches)])


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """One for carls and one for torch, for each dim, distribution and batch."""
    for dim in plan.dim:
        weight = weights(plan.rows, dim)
        embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(weight))
        keys = integer_keys(plan.rows)
        with carls.connect() as bank, ThreadPoolExecutor(2) as pool:
            table = bank.embeddings("bench", dim=dim)
            fill(table, keys, weight)
            for title, batch, picks in plan.draws(dim):
                ours = Shares(table.lookup, [keys[pick] for pick in picks], pool)
                yield _comparison("carls", title, batch, ours)
                its = Shares(embedding, [torch.from_numpy(pick) for pick in picks], pool)
                yield _comparison("torch nn.Embedding", title, batch, its)


def _comparison(name: str, title: str, batch: int, shares: Shares) -> Comparison:
    cases: Cases = {"two threads": shares.by_two, "one thread": shares.by_one}
    return Comparison(f"{name}, {title}", 2 * SHARE * batch, cases)


main = command(
    "threads",
    "Time look-ups in process by one thread and by two at once.",
    FULL,
    comparisons,
    lambda: versions("torch"),
    threads="1 and 2",
)


if __name__ == "__main__":
    typer.run(main)
