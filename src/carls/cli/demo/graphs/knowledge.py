"""Where a trainer gets its neighbours' outputs from: a bank and a maker, or itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.graphs.problem import Problem
from carls.cli.demo.graphs.recipe import Recipe
from carls.client import Bank, DriftLimit, Ragged
from carls.torch import GraphRegularizer

#: Longest wait for a maker to answer a checkpoint, in seconds.
MAKER_S = 30.0

Vertices = npt.NDArray[np.int64]


class Knowledge(ABC):
    """Neighbours' outputs in a bank, and the loss that compares vertices with them.

    Attributes:
        waited_s: seconds that the trainer has waited for a maker.
    """

    def __init__(self, bank: Bank, table: str, problem: Problem, recipe: Recipe) -> None:
        self._rows = bank.embeddings(table, dim=problem.classes, keys="int64")
        columns = {"neighbours": "list<int64>", "weights": "list<float32>"}
        self._graph = bank.features(f"{table}.graph", columns, keys="int64")
        self._graph.assign(problem.keys, {"neighbours": problem.neighbours, "weights": problem.weights})
        edges = self._graph.lookup(problem.keys)
        self._neighbours, self._weights = edges["neighbours"], edges["weights"]
        self.regularizer = GraphRegularizer(
            self._rows, weight=recipe.graph_weight, ramp_steps=recipe.ramp_steps
        )
        self.waited_s = 0.0

    @abstractmethod
    def before_step(self, model: torch.nn.Module, step: int, now: Vertices, following: Vertices) -> None:
        """Prepare a step on the vertices `now`; those of the next step are `following`."""

    def penalty(self, outputs: torch.Tensor, vertices: Vertices, step: int) -> torch.Tensor:
        """The graph loss of `vertices`, whose outputs (n, classes) the trainer has computed."""
        neighbours, weights = self._near(vertices), _lists(self._weights, vertices)
        loss: torch.Tensor = self.regularizer(outputs, neighbours, weights, step=step)
        return loss

    def close(self) -> None:
        """Drop the tables and close their handles."""
        for table in (self._rows, self._graph):
            table.close()
            table.bank.drop(table.name)

    def _near(self, vertices: Vertices) -> list[Vertices]:
        """The neighbours of each of `vertices`."""
        return _lists(self._neighbours, vertices)


class BankKnowledge(Knowledge):
    """Publishes checkpoints for a maker that writes to the bank; never computes a neighbour.

    Args:
        model_name: under which the checkpoints are published.
    """

    def __init__(self, bank: Bank, table: str, model_name: str, problem: Problem, recipe: Recipe) -> None:
        super().__init__(bank, table, problem, recipe)
        self._models = bank.models
        self._model_name = model_name
        self._publish_steps = recipe.publish_steps
        self._limit = DriftLimit(self._rows, recipe.drift_steps, timeout_s=MAKER_S)

    def before_step(self, model: torch.nn.Module, step: int, now: Vertices, following: Vertices) -> None:
        if step % self._publish_steps == 0:
            self._models.publish(self._model_name, model.state_dict(), step=step)
            self.waited_s += self._limit.wait(step)
        if step == 0:
            self.regularizer.prefetch(self._near(now), step=step)
        self.regularizer.prefetch(self._near(following), step=step + 1)


class OwnKnowledge(Knowledge):
    """Computes the neighbours of each batch anew in every step, inside the trainer."""

    def __init__(self, bank: Bank, table: str, problem: Problem, recipe: Recipe) -> None:
        super().__init__(bank, table, problem, recipe)
        self._features = torch.from_numpy(problem.features)

    def before_step(
        self,
        model: torch.nn.Module,
        step: int,
        now: Vertices,
        following: Vertices,  # noqa: ARG002 - nothing is fetched ahead here
    ) -> None:
        nearby = np.unique(np.concatenate(self._near(now)))
        model.eval()
        with torch.no_grad():
            probabilities = torch.softmax(model(self._features[nearby]), dim=1)
        model.train()
        self._rows.assign(nearby, probabilities.numpy(), step=step)


def _lists(ragged: Ragged, rows: Vertices) -> list[npt.NDArray[Any]]:
    values, offsets = ragged.values, ragged.offsets
    return [values[offsets[row] : offsets[row + 1]] for row in rows]
