"""Candidates for a batch of contexts, each with one positive and 64 negatives: against numpy.

int64 keys, one thread, values included. The positives follow a power law, and so do the counts of the
rows. carls gets the keys of the positives; numpy has row numbers, weights that are summed already and a
matrix of values, so it needs no keys at all.

* with replacement: numpy searches sorted cumulated weights for uniform numbers, draws what hit a context's
  positive again, and works out the expected counts.
* unique: numpy takes each context's 64 smallest exponential clocks (Efraimidis and Spirakis, 2006), which
  needs a number for each row of the table, and whose inclusion probabilities nobody knows.
* through a server in a process of its own, over loopback TCP: with values and without.
* ranking anew: what the first call after many changes costs besides, against numpy sorting the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import typer

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.plan import Distribution, Indices, Plan
from benchmarks.tables import Matrix, fill, integer_keys, weights
from carls.bank.embeddings import EmbeddingTable
from carls.bank.rankings import Rankings
from carls.keys import Keys
from carls.messages import AgeBound
from carls.service.process import BankProcess
from carls.specs import EmbeddingSpec, Frequency, LogUniform, Strategy, UniformSampling

NEGATIVES = 64
STRATEGIES: tuple[Strategy, ...] = (UniformSampling(), LogUniform(), Frequency(0.75))
FULL = Plan((Distribution.POWER_LAW,), batch=(64,), dim=(64,), rows=100_000, calls=200)


class NumpyStore:
    """Rows in the order of their counts, and the strategies' weights summed.

    Args:
        weight: (rows, dim) float32.
        counts: (rows,) how often each was looked up.
    """

    def __init__(self, weight: Matrix, counts: Indices) -> None:
        ranked = np.argsort(-counts, kind="stable")
        rank = np.arange(len(counts))
        shares = {
            "uniform": np.ones(len(counts)),
            "log_uniform": np.log1p(1 / (rank + 1)),
            "frequency": np.maximum(counts[ranked], 1) ** 0.75,
        }
        self.weight = weight[ranked]
        self.place = np.argsort(ranked)
        self.shares = {name: share / share.sum() for name, share in shares.items()}
        self.sums = {name: np.cumsum(share) for name, share in self.shares.items()}
        self._rng = np.random.default_rng(2)

    def sample(self, strategy: str, picks: Indices) -> tuple[Matrix, Any]:
        """Values (contexts, 1 + negatives, dim) and expected counts, with replacement."""
        share, sums, rng = self.shares[strategy], self.sums[strategy], self._rng
        positive = self.place[picks][:, None]
        drawn = np.searchsorted(sums, rng.random((len(picks), NEGATIVES)) * sums[-1], side="right")
        while (hit := drawn == positive).any():
            drawn[hit] = np.searchsorted(sums, rng.random(int(hit.sum())) * sums[-1], side="right")
        expected = NEGATIVES * share[drawn] / (1 - share[positive])
        rows = np.concatenate([positive, drawn], axis=1)
        return self.weight[rows], np.concatenate([NEGATIVES * share[positive], expected], axis=1)

    def sample_unique(self, strategy: str, picks: Indices) -> Matrix:
        """Values (contexts, 1 + negatives, dim), without replacement."""
        share, positives = self.shares[strategy], self.place[picks]
        rows = np.empty((len(picks), 1 + NEGATIVES), np.int64)
        for row, positive in zip(rows, positives, strict=True):
            clocks = self._rng.standard_exponential(len(share)) / share
            clocks[positive] = np.inf
            row[0], row[1:] = positive, np.argpartition(clocks, NEGATIVES)[:NEGATIVES]
        return self.weight[rows]


def comparisons(plan: Plan) -> Iterator[Comparison]:
    keys = integer_keys(plan.rows)
    for dim in plan.dim:
        weight = weights(plan.rows, dim)
        for title, contexts, picks in plan.draws(dim):
            counts = np.bincount(np.concatenate(picks), minlength=plan.rows)
            store = NumpyStore(weight, counts)
            positives = [keys[pick][:, None] for pick in picks]
            size = contexts * (1 + NEGATIVES)
            with carls.connect() as bank, BankProcess() as server, carls.connect(server.url) as far:
                near = _table(bank, keys, weight, picks)
                for unique, kind in ((False, "with replacement"), (True, "unique")):
                    ours = {s.name: _call(near, positives, s, unique=unique) for s in STRATEGIES}
                    numpy = {"numpy, log_uniform": _numpy(store, picks, unique)}
                    yield Comparison(f"{title}, {kind}", size, ours | numpy, len(ours))
                table = _table(far, keys, weight, picks)
                log_uniform, near_too = LogUniform(), _call(near, positives, LogUniform())
                remote = {
                    "through a server": _call(table, positives, log_uniform),
                    "through a server, unique": _call(table, positives, log_uniform, unique=True),
                    "through a server, no values": _call(table, positives, log_uniform, values=False),
                }
                yield Comparison(f"{title}, remote", size, remote | {"in process": near_too}, len(remote))
        yield _ranking(plan, keys, dim)


def _table(bank: carls.Bank, keys: Indices, weight: Matrix, picks: list[Indices]) -> carls.EmbeddingTable:
    table = bank.embeddings("t", dim=weight.shape[1])
    fill(table, keys, weight)
    for pick in picks:
        table.lookup(keys[pick])
    return table


def _call(
    table: carls.EmbeddingTable, positives: list[Indices], strategy: Strategy, **options: bool
) -> Callable[[int], Any]:
    n = 1 + NEGATIVES
    return lambda i: table.sample(n, strategy, positives=positives[i % len(positives)], **options)


def _numpy(store: NumpyStore, picks: list[Indices], unique: bool) -> Callable[[int], Any]:
    sample = store.sample_unique if unique else store.sample
    return lambda i: sample("log_uniform", picks[i % len(picks)])


def _ranking(plan: Plan, keys: Indices, dim: int) -> Comparison:
    table = EmbeddingTable("t", EmbeddingSpec(dim=dim, keys="int64"))
    counts = np.zeros(plan.rows, np.int64)
    table.lookup(Keys.of(keys), True, AgeBound(), 1)
    for pick in plan.keys[0].draw(plan.rows, 1024):
        table.lookup(Keys.of(keys[pick]), True, AgeBound(), 1)
        np.add.at(counts, pick, 1)
    rows = table.rows(Keys.of(keys[:1]))
    strategy = LogUniform()
    return Comparison(
        f"a ranking anew, {plan.rows} rows",
        plan.rows,
        {
            "rank and weigh": lambda _: Rankings().current(rows, strategy, 1).weights(strategy),
            "numpy, argsort of the counts": lambda _: np.argsort(-counts, kind="stable"),
        },
    )


main = command(
    "sampling", "Time candidate sampling.", FULL, comparisons, lambda: versions("numpy"), threads=1
)

if __name__ == "__main__":
    typer.run(main)
