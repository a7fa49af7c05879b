"""A training step whose vertices are compared with neighbours in a bank, by their number.

Each step trains a perceptron on a batch of vertices. Its rivals: no neighbours at all; one; fifty; and
fifty that the trainer computes itself, with the same network, without gradients. The bank is a server in a
process of its own, with a row for each vertex; rows are fetched ahead. Nobody makes rows meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch.nn import functional

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.plan import Distribution, Plan
from benchmarks.tables import fill, weights
from carls.cli.bench.cases import Cases
from carls.service.process import BankProcess
from carls.torch import GraphRegularizer
from carls.torch.neighbours import Neighbours

FULL = Plan((Distribution.UNIFORM,), batch=(128,), dim=(64,), rows=100_000, calls=100)
FEATURES, HIDDEN = 512, 1024
NEIGHBOURS = 50


class Trainer:
    """Steps without neighbours.

    Args:
        features: (rows, FEATURES) float32.
        labels: (rows,) int64 below dim.
        batches: of vertices, taken in turn.
    """

    def __init__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        dim: int,
        batches: list[npt.NDArray[np.int64]],
    ) -> None:
        torch.manual_seed(0)
        self.features, self.labels, self.batches = features, labels, batches
        self.model = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, dim)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)

    def __call__(self, step: int) -> None:
        vertices = self.batches[step % len(self.batches)]
        outputs = self.model(self.features[vertices])
        loss = functional.cross_entropy(outputs, self.labels[vertices]) + self.penalty(outputs, step)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def penalty(self, outputs: torch.Tensor, step: int) -> torch.Tensor | float:  # noqa: ARG002
        """What neighbours add to the loss."""
        return 0.0


class BankTrainer(Trainer):
    """Steps with neighbours whose rows are in a bank.

    Args:
        table: of the rows.
        graph: (rows, k) int64 keys of each vertex's neighbours.
    """

    def __init__(
        self, table: carls.EmbeddingTable, graph: npt.NDArray[np.int64], trainer: Trainer, dim: int
    ) -> None:
        super().__init__(trainer.features, trainer.labels, dim, trainer.batches)
        self.graph = graph
        self.regularizer = GraphRegularizer(table)
        self.ahead: dict[int, Neighbours] = {}

    def penalty(self, outputs: torch.Tensor, step: int) -> torch.Tensor:
        near = self.ahead.pop(step, None) or self.prefetch(step)
        self.ahead[step + 1] = self.prefetch(step + 1)
        loss: torch.Tensor = self.regularizer(outputs, near, step=step)
        return loss

    def prefetch(self, step: int) -> Neighbours:
        """Start to fetch the rows of a step."""
        return self.regularizer.prefetch(self.graph[self.batches[step % len(self.batches)]], step=step)


class OwnTrainer(Trainer):
    """Steps whose neighbours' outputs the trainer computes itself."""

    def __init__(self, graph: npt.NDArray[np.int64], trainer: Trainer, dim: int) -> None:
        super().__init__(trainer.features, trainer.labels, dim, trainer.batches)
        self.graph = graph

    def penalty(self, outputs: torch.Tensor, step: int) -> torch.Tensor:
        distinct, place = np.unique(self.graph[self.batches[step % len(self.batches)]], return_inverse=True)
        with torch.no_grad():
            near = torch.softmax(self.model(self.features[distinct]), dim=1)
            mean = near[place.reshape(len(outputs), -1)].mean(dim=1)
        return (torch.softmax(outputs, dim=1) - mean).square().sum(dim=1).mean()


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """All of the plan, with one bank."""
    (dim,), (keys,) = plan.dim, plan.keys
    draw = np.random.default_rng(0)
    features = torch.from_numpy(draw.standard_normal((plan.rows, FEATURES), dtype=np.float32))
    labels = torch.from_numpy(draw.integers(0, dim, plan.rows))
    graph = draw.integers(0, plan.rows, (plan.rows, NEIGHBOURS))
    with BankProcess() as server, carls.connect(server.url) as bank:
        table = bank.embeddings("bench", dim=dim, keys="int64")
        fill(table, np.arange(plan.rows), np.abs(weights(plan.rows, dim)) / np.float32(dim))
        for batch in plan.batch:
            none = Trainer(features, labels, dim, keys.draw(plan.rows, batch))
            cases: Cases = {
                f"{NEIGHBOURS} neighbours": BankTrainer(table, graph, none, dim),
                "1 neighbour": BankTrainer(table, graph[:, :1], none, dim),
                "no neighbours": none,
                f"synchronous, {NEIGHBOURS} neighbours": OwnTrainer(graph, none, dim),
            }
            yield Comparison(f"{batch} vertices, {FEATURES}-{HIDDEN}-{dim}", batch, cases)


main = command(
    "neighbours",
    "Time training steps with many neighbours in a bank, one, none, and many computed in the trainer.",
    FULL,
    comparisons,
    lambda: versions("torch"),
)

if __name__ == "__main__":
    typer.run(main)
