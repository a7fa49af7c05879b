"""Pushes of gradients in process, int64 keys, one thread: against sparse optimizers of torch and numpy.

Every case sums the gradients of equal keys and updates rows and optimizer state in place. torch
gets the sparse gradient that the backward pass of `nn.Embedding(sparse=True)` makes, ready; torch
and numpy get ready indices, carls looks its keys up.
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

LR = 0.01
FULL = Plan(tuple(Distribution), batch=(1024, 1, 16, 128, 8192), dim=(64,), rows=1_000_000, calls=400)


class NumpyAdagrad:
    """Adagrad on the rows that a batch touches, in numpy.

    Args:
        weight: (rows, dim) float32, changed in place.
    """

    def __init__(self, weight: Matrix) -> None:
        self.weight, self.squares = weight, np.zeros_like(weight)

    def push_added(self, indices: Indices, gradients: Matrix) -> None:
        """Gradients of equal rows are summed by `np.add.at`."""
        rows, places = np.unique(indices, return_inverse=True)
        summed = np.zeros((len(rows), gradients.shape[1]), np.float32)
        np.add.at(summed, places, gradients)
        self._step(rows, summed)

    def push_sorted(self, indices: Indices, gradients: Matrix) -> None:
        """Gradients of equal rows are summed by sorting and `np.add.reduceat`."""
        order = np.argsort(indices)
        rows, starts = np.unique(indices[order], return_index=True)
        self._step(rows, np.add.reduceat(gradients[order], starts))

    def _step(self, rows: Indices, gradients: Matrix) -> None:
        squares = self.squares[rows] + gradients * gradients
        self.squares[rows] = squares
        self.weight[rows] -= LR * gradients / (np.sqrt(squares) + np.float32(1e-10))


class TorchEmbedding:
    """`nn.Embedding(sparse=True)` with a sparse optimizer.

    Args:
        weight: (rows, dim) float32, is copied.
        optimizer: class of the optimizer.
    """

    def __init__(self, weight: Matrix, optimizer: type[torch.optim.Optimizer]) -> None:
        (rows, dim), tensor = weight.shape, torch.from_numpy(weight.copy())
        self.embedding = torch.nn.Embedding(rows, dim, sparse=True, _weight=tensor)
        self._optimizer = optimizer(self.embedding.parameters(), lr=LR)  # type: ignore[call-arg]

    def push(self, indices: torch.Tensor, gradients: torch.Tensor) -> None:
        """One step with gradients (n, dim) at indices (1, n)."""
        weight = self.embedding.weight
        weight.grad = torch.sparse_coo_tensor(indices, gradients, weight.shape, check_invariants=False)
        self._optimizer.step()


class Stores:
    """The same rows in each kind of store, each with its optimizer.

    Args:
        table: empty, with Adagrad; is filled.
        weight: (rows, dim) float32, is copied.
    """

    def __init__(self, table: carls.EmbeddingTable, weight: Matrix) -> None:
        self.table = table
        self.keys = integer_keys(len(weight))
        fill(table, self.keys, weight)
        self.adagrad = TorchEmbedding(weight, torch.optim.Adagrad)
        self.adam = TorchEmbedding(weight, torch.optim.SparseAdam)
        self.numpy_added = NumpyAdagrad(weight.copy())
        self.numpy_sorted = NumpyAdagrad(weight.copy())

    def cases(self, picks: list[Indices], gradients: Matrix) -> Cases:
        """Pushes of `gradients` (batch, dim) to the rows at `picks`, each (batch,), in turn."""
        keys = [self.keys[pick] for pick in picks]
        indices = [torch.from_numpy(pick)[None] for pick in picks]
        n, tensor = len(picks), torch.from_numpy(gradients)
        return {
            "carls, Adagrad": lambda i: self.table.push_gradients(keys[i % n], gradients),
            "torch sparse, Adagrad": lambda i: self.adagrad.push(indices[i % n], tensor),
            "torch sparse, SparseAdam": lambda i: self.adam.push(indices[i % n], tensor),
            "numpy add.at, Adagrad": lambda i: self.numpy_added.push_added(picks[i % n], gradients),
            "numpy reduceat, Adagrad": lambda i: self.numpy_sorted.push_sorted(picks[i % n], gradients),
        }


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """One for each dim, distribution and batch."""
    torch.sparse.check_sparse_tensor_invariants.disable()
    for dim in plan.dim:
        with carls.connect() as bank:
            table = bank.embeddings("bench", dim=dim, optimizer=carls.Adagrad(lr=LR))
            stores = Stores(table, weights(plan.rows, dim))
            for title, batch, picks in plan.draws(dim):
                yield Comparison(title, batch, stores.cases(picks, weights(batch, dim)))


main = command(
    "push",
    "Time pushes in process against sparse optimizers of torch and numpy.",
    FULL,
    comparisons,
    lambda: versions("numpy", "torch"),
)


if __name__ == "__main__":
    typer.run(main)
