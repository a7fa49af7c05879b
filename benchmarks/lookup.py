"""Look-ups in process, int64 keys, one thread: against numpy, a dict of arrays and torch.

carls gets an int64 array of keys; the dicts get a ready list of Python integers, which suits
them; those with "indices" need no keys at all and are the floor. Every case ends with an array
(batch, dim); that of carls comes with the rows' metadata besides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import typer

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.plan import Distribution, Indices, Plan
from benchmarks.tables import Matrix, fill, integer_keys, weights
from carls.cli.bench.cases import Cases

OURS = "carls"
FULL = Plan(tuple(Distribution), batch=(1024, 1, 16, 128, 8192), dim=(64,), rows=1_000_000, calls=400)


class Stores:
    """The same rows in each kind of store.

    Args:
        table: empty; is filled.
        weight: (rows, dim) float32.
    """

    def __init__(self, table: carls.EmbeddingTable, weight: Matrix) -> None:
        self.table, self.weight = table, weight
        self.keys = integer_keys(len(weight))
        fill(table, self.keys, weight)
        self.place = dict(zip(self.keys.tolist(), range(len(weight)), strict=True))
        self.arrays = {key: weight[place].copy() for key, place in self.place.items()}
        self.embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(weight.copy()))

    def cases(self, picks: list[Indices]) -> Cases:
        """Look-ups of the rows at `picks`, each (batch,), in turn."""
        keys = [self.keys[pick] for pick in picks]
        lists = [batch.tolist() for batch in keys]
        indices = [torch.from_numpy(pick) for pick in picks]
        n, table, weight, place, arrays = len(picks), self.table, self.weight, self.place, self.arrays
        return {
            OURS: lambda i: table.lookup(keys[i % n]).values,
            "numpy, indices": lambda i: weight.take(picks[i % n], axis=0),
            "numpy and a dict": lambda i: weight.take(
                np.fromiter(map(place.__getitem__, lists[i % n]), np.int64, len(lists[0])), axis=0
            ),
            "dict of arrays": lambda i: np.stack([arrays[key] for key in lists[i % n]]),
            "torch nn.Embedding, indices": lambda i: self.embedding(indices[i % n]),
        }


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """One for each dim, distribution and batch."""
    for dim in plan.dim:
        with carls.connect() as bank:
            stores = Stores(bank.embeddings("bench", dim=dim), weights(plan.rows, dim))
            for title, batch, picks in plan.draws(dim):
                yield Comparison(title, batch, stores.cases(picks))


main = command(
    "lookup",
    "Time look-ups in process against numpy, dicts and torch.",
    FULL,
    comparisons,
    lambda: versions("numpy", "torch"),
)


if __name__ == "__main__":
    typer.run(main)
