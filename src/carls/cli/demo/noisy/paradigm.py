"""The paradigm of the demo: examples count by the quality of their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from carls.cli.demo.comparison.paradigm import Paradigm
from carls.cli.demo.comparison.plan import Way
from carls.cli.demo.comparison.recorder import Recorder
from carls.cli.demo.comparison.run import Run
from carls.cli.demo.fashion import Fashion
from carls.cli.demo.model import Perceptron
from carls.cli.demo.noisy.knowledge import Batch, LabelKnowledge
from carls.cli.demo.noisy.problem import CLASSES, NoisyProblem, noisy
from carls.cli.demo.noisy.recipe import NoisyRecipe
from carls.client import Bank

#: Steps between two tests, for the curves.
TEST_STEPS = 78


class NoisyLabels(Paradigm[NoisyProblem, NoisyRecipe, LabelKnowledge]):
    """A perceptron on labels of which some are wrong.

    Args:
        data: the images.
        noise: "symmetric" or "asymmetric".
    """

    name: ClassVar[str] = "noisy-labels"
    score: ClassVar[str] = "accuracy"
    baseline: ClassVar[str] = "cross entropy"

    def __init__(self, data: Fashion, noise: str) -> None:
        self._data, self._noise = data, noise

    def problem(self, seed: int) -> NoisyProblem:
        return noisy(self._data, seed, self._noise)

    def steps(self, problem: NoisyProblem, recipe: NoisyRecipe) -> int:
        return recipe.epochs * (len(problem.given) // recipe.batch)

    def knowledge(
        self, way: Way, bank: Bank, table: str, problem: NoisyProblem, recipe: NoisyRecipe
    ) -> LabelKnowledge:
        return LabelKnowledge(way, bank, table, problem, recipe)

    def train(
        self,
        problem: NoisyProblem,
        recipe: NoisyRecipe,
        seed: int,
        knowledge: LabelKnowledge | None,
        advance: Callable[[], None],
    ) -> Run:
        torch.manual_seed(seed)
        model = Perceptron(problem.features.shape[1], recipe.hidden, CLASSES, dropout=0.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
        features, given = torch.from_numpy(problem.features), torch.from_numpy(problem.given)
        steps = self.steps(problem, recipe)
        recorder = Recorder(model, steps, TEST_STEPS)
        batches = _batches(len(given), recipe.batch, seed)
        following = next(batches)
        for step in range(steps):
            with recorder.step(step):
                now, following = following, next(batches)
                if knowledge is None:
                    loss = functional.cross_entropy(model(features[now]), given[now])
                else:
                    knowledge.before_step(model, step, now, following)
                    loss = knowledge.loss(model(features[now]), given[now], now, step=step)
                    if knowledge.loss.last_read is not None:
                        recorder.read(knowledge.loss.last_read.staleness, knowledge.loss.last_read.unknown)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            advance()
        waited_s = 0.0 if knowledge is None else knowledge.waited_s
        return recorder.finish(lambda: _accuracy(model, problem), waited_s)


def _batches(examples: int, batch: int, seed: int) -> Iterator[Batch]:
    """Batches of whole epochs, each in an order of its own; what is left over waits for another epoch."""
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(examples)
        for start in range(0, examples - batch + 1, batch):
            yield order[start : start + batch]


def _accuracy(model: Perceptron, problem: NoisyProblem) -> float:
    with torch.no_grad():
        guesses = model(torch.from_numpy(problem.test_features)).argmax(dim=1).numpy()
    return 100.0 * float((guesses == problem.test_labels).mean())
