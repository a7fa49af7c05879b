"""The paradigm of the demos: vertices without a label learn from their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from carls.cli.demo.comparison.paradigm import Paradigm
from carls.cli.demo.comparison.plan import Way
from carls.cli.demo.comparison.recorder import Recorder
from carls.cli.demo.comparison.run import Run
from carls.cli.demo.graphs.cora import cora
from carls.cli.demo.graphs.digits import digits
from carls.cli.demo.graphs.knowledge import Batch, GraphKnowledge
from carls.cli.demo.graphs.problem import Problem
from carls.cli.demo.graphs.recipe import GraphRecipe
from carls.cli.demo.model import Perceptron
from carls.client import Bank

#: Steps between two tests, for the curves.
TEST_STEPS = 20


class GraphLearning(Paradigm[Problem, GraphRecipe, GraphKnowledge]):
    """A perceptron whose outputs are compared with those of neighbours."""

    score: ClassVar[str] = "accuracy"
    baseline: ClassVar[str] = "without neighbours"

    def steps(self, problem: Problem, recipe: GraphRecipe) -> int:  # noqa: ARG002 - the same for all
        return recipe.steps

    def knowledge(
        self, way: Way, bank: Bank, table: str, problem: Problem, recipe: GraphRecipe
    ) -> GraphKnowledge:
        return GraphKnowledge(way, bank, table, problem, recipe)

    def train(
        self,
        problem: Problem,
        recipe: GraphRecipe,
        seed: int,
        knowledge: GraphKnowledge | None,
        advance: Callable[[], None],
    ) -> Run:
        torch.manual_seed(seed)
        draw = np.random.default_rng(seed)
        model = Perceptron(problem.features.shape[1], recipe.hidden, problem.classes, recipe.dropout)
        optimizer = torch.optim.Adam(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
        features, labels = torch.from_numpy(problem.features), torch.from_numpy(problem.labels)

        def draw_vertices() -> Batch:
            return draw.integers(0, len(features), recipe.vertex_batch)

        recorder = Recorder(model, recipe.steps, TEST_STEPS)
        following = draw_vertices()
        for step in range(recipe.steps):
            with recorder.step(step):
                now, following = following, draw_vertices()
                if knowledge is not None:
                    knowledge.before_step(model, step, now, following)
                labelled = problem.labelled
                if recipe.labelled_batch is not None:
                    labelled = draw.choice(labelled, recipe.labelled_batch)
                loss = functional.cross_entropy(
                    model(features[labelled]), labels[labelled], label_smoothing=recipe.label_smoothing
                )
                if knowledge is not None:
                    loss = loss + knowledge.penalty(model(features[now]), step)
                    if knowledge.regularizer.last_read is not None:
                        read = knowledge.regularizer.last_read
                        recorder.read(read.staleness, read.masked)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if recipe.cosine_decay:
                    decay.step()
            advance()
        waited_s = 0.0 if knowledge is None else knowledge.waited_s
        model.eval()
        return recorder.finish(lambda: _accuracy(model, problem), waited_s)


class Digits(GraphLearning):
    """Handwritten digits, joined to those that look alike.

    Args:
        labels: how many images have their labels known.
    """

    name: ClassVar[str] = "digits"

    def __init__(self, labels: int) -> None:
        self._labels = labels

    def problem(self, seed: int) -> Problem:
        return digits(seed, self._labels)


class Cora(GraphLearning):
    """Papers, joined by their citations.

    Args:
        split: "nsl" or "planetoid".
        neighbours: "links" or "pagerank".
    """

    name: ClassVar[str] = "cora"

    def __init__(self, split: str, neighbours: str) -> None:
        self._split, self._neighbours = split, neighbours

    def problem(self, seed: int) -> Problem:
        return cora(seed, self._split, self._neighbours)


def _accuracy(model: Perceptron, problem: Problem) -> float:
    with torch.no_grad():
        guesses = model(torch.from_numpy(problem.test_features)).argmax(dim=1).numpy()
    return 100.0 * float((guesses == problem.test_labels).mean())
