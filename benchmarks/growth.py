"""What limits cost and what policies keep: a power-law stream of keys through tables of a tenth of its rows.

Look-ups create rows. The keys of the first half of the stream warm the tables up; in the second half
hits are counted and calls timed, a block of batches for each case in turn. A key is a hit if its row
was there before the batch. The best static choice, which knows the true frequencies, keeps the most
frequent keys and never changes.

A table without a limit has all rows after a while, and then makes none. So the cost of eviction is
taken against a table without a limit that makes as many rows as the limited one does: look-ups of
the same stream in which as many keys are new ones. The price of making rows again stands beside it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

import carls
from benchmarks import options
from benchmarks.comparison import pivot, versions
from benchmarks.plan import EXPONENT
from carls.cli.results import Result, check_writable, write_json

#: Points that LFU's hit rate may be below the best static choice's.
GOAL_POINTS = 2.0
#: Share of the throughput that eviction may cost.
GOAL_COST = 0.25
ALL, AS_MANY, STATIC = "no limit, all rows there", "no limit, as many new rows", "best static choice"

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        ids: distinct keys of the stream.
        lookups: keys of the stream.
        batch: keys of a call.
        dim: elements of a row.
        block: batches that a case takes before it is the next one's turn.
    """

    ids: int
    lookups: int
    batch: int
    dim: int
    block: int

    @property
    def max_rows(self) -> int:
        """Rows of the limited tables."""
        return self.ids // 10


FULL = Plan(ids=1_000_000, lookups=20_000_000, batch=1024, dim=16, block=500)
QUICK = Plan(ids=20_000, lookups=400_000, batch=256, dim=16, block=100)


@dataclass
class Case:
    """A table, and what was noted of the second half of the stream."""

    table: carls.EmbeddingTable
    seconds: list[float] = field(default_factory=list)
    misses: int = 0
    nbytes: int = 0
    rows: int = 0

    def run(self, batches: Indices, noted: bool) -> None:
        """Look a block of batches up."""
        before = self._missed()
        start = time.perf_counter()
        for keys in batches:
            self.table.lookup(keys)
        seconds = time.perf_counter() - start
        described = self.table.describe()
        self.nbytes, self.rows = max(self.nbytes, described.nbytes), max(self.rows, described.rows)
        if noted:
            self.misses += self._missed() - before
            self.seconds.append(seconds / len(batches))

    def _missed(self) -> int:
        counters = self.table.statistics().counters
        return counters.created + counters.missed


class Stream:
    """The keys, by the rank of their frequency and shuffled."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._rng = plan, np.random.default_rng(0)
        shares = np.arange(1, plan.ids + 1, dtype=np.float64) ** -EXPONENT
        self._cumulated = np.cumsum(shares) / shares.sum()
        self._keys = self._rng.permutation(plan.ids)
        self._new = plan.ids

    def block(self) -> tuple[Indices, float]:
        """Keys (block, batch), and the share of them that the best static choice has."""
        ranks = np.searchsorted(self._cumulated, self._rng.random((self._plan.block, self._plan.batch)))
        keys: Indices = self._keys[np.minimum(ranks, self._plan.ids - 1)]
        return keys, float((ranks < self._plan.max_rows).mean())

    def with_new(self, keys: Indices, share: float) -> Indices:
        """The keys, a share of them replaced by keys that never were."""
        replaced = self._rng.random(keys.shape) < share
        changed: Indices = keys.copy()
        changed[replaced] = np.arange(self._new, self._new + replaced.sum())
        self._new += int(replaced.sum())
        return changed


def measure(plan: Plan) -> list[Result]:
    """The figures of all policies."""
    spec: dict[str, Any] = {"dim": plan.dim, "optimizer": "adagrad"}
    with carls.connect() as bank:
        unlimited = Case(bank.embeddings("all", **spec))
        for start in range(0, plan.ids, 8192):
            unlimited.table.lookup(np.arange(start, min(start + 8192, plan.ids)))
        # Bytes that hold about as many rows.
        limit = plan.max_rows * (32 + 8 * plan.dim + 16)
        limited = {
            policy: Case(bank.embeddings(policy, max_rows=plan.max_rows, eviction=policy, **spec))
            for policy in ("lfu", "lru", "fifo")
        }
        limited["lfu, max_bytes"] = Case(bank.embeddings("bytes", max_bytes=limit, eviction="lfu", **spec))
        as_many = Case(bank.embeddings("new", **spec))
        stream, static = Stream(plan), []
        blocks = plan.lookups // plan.batch // plan.block
        for number in range(blocks):
            keys, best = stream.block()
            noted = number >= blocks // 2
            for case in (unlimited, *limited.values()):
                case.run(keys, noted)
            if noted:
                known = limited["lfu"]
                share = known.misses / len(known.seconds) / keys.size
                as_many.run(stream.with_new(keys, share), noted)
                static.append(best)
        n = len(static) * plan.block
        results = [Result(STATIC, "hit rate", float(np.mean(static)) * 100, "%", None, n)]
        for name, case in limited.items():
            results += [
                Result(name, "hit rate", 100 - 100 * case.misses / (n * plan.batch), "%", None, n),
                *_figures(name, case, plan),
            ]
            if name.endswith("bytes"):
                results.append(Result(name, "most of the limit", 100 * case.nbytes / limit, "%"))
        results += _figures(ALL, unlimited, plan) + _figures(AS_MANY, as_many, plan)
        plain = {(result.case, result.metric): result for result in results}
        compared = [("hit rate", STATIC), ("rate", AS_MANY), ("rate", ALL)]
        return results + [_against(plain["lfu", metric], plain[other, metric]) for metric, other in compared]


def _figures(name: str, case: Case, plan: Plan) -> list[Result]:
    rates = plan.batch / np.array(case.seconds)
    return [
        Result(name, "rate", float(np.median(rates)), "rows/s", None, len(rates)),
        Result(name, "most rows", case.rows, "rows"),
        Result(name, "most bytes", case.nbytes / 2**20, "MiB"),
    ]


def _against(mine: Result, other: Result) -> Result:
    return replace(mine, against=other.case, ratio=mine.value / other.value)


def show(results: list[Result], plan: Plan) -> Table:
    """The figures as a table."""
    title = f"{plan.max_rows:,} of {plan.ids:,} rows x {plan.dim}; goals: LFU {GOAL_POINTS:g} points below"
    table = Table(title=f"{title} the best, eviction {GOAL_COST:.0%} of the rate", title_justify="left")
    headings, rows = pivot(results)
    for heading in headings:
        table.add_column(heading, justify="right" if table.columns else "left")
    for row in rows:
        table.add_row(*row)
    return table


def main(quick: options.Quick = False, json: options.Json = None) -> None:
    """Measure hit rates and the cost of eviction."""
    if json is not None:
        check_writable(json)
    plan, console = QUICK if quick else FULL, Console()
    with console.status("growth"):
        results = measure(plan)
    console.print(show(results, plan))
    if json is not None:
        config = {**vars(plan), "max_rows": plan.max_rows, "exponent": EXPONENT, "threads": 1}
        write_json(json, "growth", {**config, "versions": versions("numpy")}, results)
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
