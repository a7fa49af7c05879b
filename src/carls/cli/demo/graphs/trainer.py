"""The trainer of the demos: one loop for all cases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from carls.cli.demo.graphs.knowledge import Knowledge
from carls.cli.demo.graphs.problem import Problem
from carls.cli.demo.graphs.recipe import Recipe
from carls.cli.demo.model import Perceptron

#: Steps between two tests, for the curve.
TEST_STEPS = 20


@dataclass(frozen=True, eq=False)
class Run:
    """One training run.

    Attributes:
        curve: (k, 2): step, and accuracy on the test data in percent.
        step_ms: mean time of a step in milliseconds, publishing and waiting included, tests not.
        staleness: int64, (trainer step - row step) of every neighbour read; empty without a bank.
        masked: share of neighbours that were left out, 0 to 1.
        waited_s: seconds of waiting for the maker.
    """

    curve: npt.NDArray[np.float64]
    step_ms: float
    staleness: npt.NDArray[np.int64]
    masked: float
    waited_s: float

    @property
    def accuracy(self) -> float:
        """On the test data after the last step, in percent."""
        return float(self.curve[-1, 1])


def train(
    problem: Problem,
    recipe: Recipe,
    seed: int,
    knowledge: Knowledge | None,
    advance: Callable[[], None],
) -> Run:
    """Train a perceptron; with `knowledge`, vertices are drawn to their neighbours as well.

    Args:
        seed: of the first weights and of all draws.
        advance: called after each step.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    model = Perceptron(problem.features.shape[1], recipe.hidden, problem.classes, recipe.dropout)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    features, labels = torch.from_numpy(problem.features), torch.from_numpy(problem.labels)

    def draw_vertices() -> npt.NDArray[np.int64]:
        return draw.integers(0, len(features), recipe.vertex_batch)

    curve, reads, spent = [(0.0, _accuracy(model, problem))], [], 0.0
    following = draw_vertices()
    for step in range(recipe.steps):
        began = time.perf_counter()
        vertices, following = following, draw_vertices()
        if knowledge is not None:
            knowledge.before_step(model, step, vertices, following)
        labelled = problem.labelled
        if recipe.labelled_batch is not None:
            labelled = draw.choice(labelled, recipe.labelled_batch)
        loss = functional.cross_entropy(
            model(features[labelled]), labels[labelled], label_smoothing=recipe.label_smoothing
        )
        if knowledge is not None:
            loss = loss + knowledge.penalty(model(features[vertices]), vertices, step)
            if knowledge.regularizer.last_read is not None:
                reads.append(knowledge.regularizer.last_read)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if recipe.cosine_decay:
            decay.step()
        spent += time.perf_counter() - began
        if (step + 1) % TEST_STEPS == 0 or step + 1 == recipe.steps:
            curve.append((step + 1, _accuracy(model, problem)))
        advance()
    return Run(
        curve=np.array(curve),
        step_ms=1e3 * spent / recipe.steps,
        staleness=np.concatenate([read.staleness for read in reads]) if reads else np.zeros(0, np.int64),
        masked=float(np.mean([read.masked for read in reads])) if reads else 0.0,
        waited_s=0.0 if knowledge is None else knowledge.waited_s,
    )


def _accuracy(model: Perceptron, problem: Problem) -> float:
    model.eval()
    with torch.no_grad():
        guesses = model(torch.from_numpy(problem.test_features)).argmax(dim=1).numpy()
    model.train()
    return 100.0 * float((guesses == problem.test_labels).mean())
