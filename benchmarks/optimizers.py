"""Pushes of gradients by each optimizer, in process, int64 keys, one thread.

Each against what its rows' bytes cost (benchmarks/scattered.py), and against torch's optimizer on a
ready sparse gradient, where there is one. Row-wise Adagrad against Adagrad too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import typer

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.plan import Distribution, Indices, Plan
from benchmarks.push import TorchEmbedding
from benchmarks.scattered import Scattered
from benchmarks.tables import Matrix, fill, integer_keys, weights
from carls.cli.bench.cases import Cases

FULL = Plan((Distribution.UNIFORM,), batch=(1024,), dim=(64,), rows=1_000_000, calls=400)
HEADER_NBYTES = 32
STATE = {  # floats of state of a row: (for each element, besides)
    "sgd": (0, 0),
    "momentum": (1, 0),
    "adagrad": (1, 0),
    "rowwise_adagrad": (0, 1),
    "adam": (2, 1),
    "ftrl": (2, 0),
}
TORCH: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.SparseAdam,
}


def row_nbytes(optimizer: str, dim: int) -> int:
    """Bytes of a row: header, value, state."""
    each, besides = STATE[optimizer]
    return (HEADER_NBYTES + 4 * (dim + each * dim + besides) + 7) & ~7


def push(bank: carls.Bank, optimizer: str, weight: Matrix, picks: list[Indices]) -> Callable[[int], None]:
    """Pushes to a full table with that optimizer."""
    table = bank.embeddings(optimizer, dim=weight.shape[1], optimizer=optimizer)
    keys = integer_keys(len(weight))
    fill(table, keys, weight)
    batches, gradients = [keys[pick] for pick in picks], weights(len(picks[0]), weight.shape[1])
    return lambda i: table.push_gradients(batches[i % len(batches)], gradients)


def step(optimizer: str, weight: Matrix, picks: list[Indices]) -> Callable[[int], None]:
    """Steps of torch's optimizer with a sparse gradient."""
    embedding = TorchEmbedding(weight, TORCH[optimizer])
    indices = [torch.from_numpy(pick)[None] for pick in picks]
    gradients = torch.from_numpy(weights(len(picks[0]), weight.shape[1]))
    return lambda i: embedding.push(indices[i % len(indices)], gradients)


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """One for each dim, distribution, batch and optimizer."""
    torch.sparse.check_sparse_tensor_invariants.disable()
    for dim in plan.dim:
        weight = weights(plan.rows, dim)
        scattered = Scattered(plan.rows * max(row_nbytes(name, dim) for name in STATE))
        for title, batch, picks in plan.draws(dim):
            for name in STATE:
                with carls.connect() as bank:
                    cases: Cases = {
                        "push": push(bank, name, weight, picks),
                        "its bytes": scattered.adder(row_nbytes(name, dim), picks),
                    }
                    if name in TORCH:
                        cases["torch"] = step(name, weight, picks)
                    if name == "rowwise_adagrad":
                        cases["push, adagrad"] = push(bank, "adagrad", weight, picks)
                    yield Comparison(f"{name}, {title}", batch, cases)


main = command(
    "optimizers",
    "Time a push by each optimizer against its bytes and against torch. Needs a C compiler.",
    FULL,
    comparisons,
    lambda: versions("torch"),
)


if __name__ == "__main__":
    typer.run(main)
