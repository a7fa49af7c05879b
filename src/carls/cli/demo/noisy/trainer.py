"""The trainer of the noisy-labels demo: one loop for all cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from carls.cli.demo.model import Perceptron
from carls.cli.demo.noisy.knowledge import Batch, Knowledge
from carls.cli.demo.noisy.problem import CLASSES, NoisyProblem
from carls.cli.demo.noisy.recipe import NoisyRecipe


@dataclass(frozen=True, eq=False)
class NoisyRun:
    """One training run.

    Attributes:
        curve: (k, 3): step, seconds of training until then, accuracy on the test data in percent.
        staleness: int64, (trainer step - row step) of every row used; empty without a bank.
        unknown: mean share of examples without a usable row, after the warm-up, 0 to 1.
        waited_s: seconds of waiting for the maker.
    """

    curve: npt.NDArray[np.float64]
    staleness: npt.NDArray[np.int64]
    unknown: float
    waited_s: float

    @property
    def accuracy(self) -> float:
        """On the test data after the last step, in percent."""
        return float(self.curve[-1, 2])

    @property
    def best_accuracy(self) -> float:
        """The highest on the way, in percent: what stopping in time could give, chosen on test data."""
        return float(self.curve[:, 2].max())

    @property
    def steps_per_s(self) -> float:
        """Steps a second, with publishing and waiting, without tests."""
        return float(self.curve[-1, 0] / self.curve[-1, 1])

    def seconds_to(self, accuracy: float) -> float:
        """Seconds of training until the first test of at least so many percent; infinity: never."""
        reached = np.flatnonzero(self.curve[:, 2] >= accuracy)
        return float(self.curve[reached[0], 1]) if len(reached) else float("inf")


def steps_of(problem: NoisyProblem, recipe: NoisyRecipe) -> int:
    """Training steps of a run."""
    return recipe.epochs * (len(problem.given) // recipe.batch)


def train(
    problem: NoisyProblem,
    recipe: NoisyRecipe,
    seed: int,
    knowledge: Knowledge | None,
    test_steps: int,
    advance: Callable[[], None],
) -> NoisyRun:
    """Train a perceptron; with `knowledge`, examples count by the quality of their labels.

    Args:
        seed: of the first weights and of the order of the examples.
        test_steps: steps between two tests for the curve; the last step is tested in any case.
            All tests are made in the end, so that a maker gains no time by them.
        advance: called after each step.
    """
    torch.manual_seed(seed)
    model = Perceptron(problem.features.shape[1], recipe.hidden, CLASSES, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    features, given = torch.from_numpy(problem.features), torch.from_numpy(problem.given)
    steps = steps_of(problem, recipe)
    batches = _batches(len(given), recipe.batch, seed)
    following = next(batches)
    snapshots, reads, spent = [], [], 0.0
    for step in range(steps):
        began = time.perf_counter()
        now, following = following, next(batches)
        if knowledge is None:
            loss = functional.cross_entropy(model(features[now]), given[now])
        else:
            knowledge.before_step(model, step, now, following)
            loss = knowledge.loss(model(features[now]), given[now], now, step=step)
            if knowledge.loss.last_read is not None:
                reads.append(knowledge.loss.last_read)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        spent += time.perf_counter() - began
        if (step + 1) % test_steps == 0 or step + 1 == steps:
            state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            snapshots.append((step + 1, spent, state))
        advance()
    return NoisyRun(
        curve=np.array([(step, at, _accuracy(model, state, problem)) for step, at, state in snapshots]),
        staleness=np.concatenate([read.staleness for read in reads]) if reads else np.zeros(0, np.int64),
        unknown=float(np.mean([read.unknown for read in reads])) if reads else 0.0,
        waited_s=0.0 if knowledge is None else knowledge.waited_s,
    )


def _batches(examples: int, batch: int, seed: int) -> Iterator[Batch]:
    """Batches of whole epochs, each in an order of its own; what is left over waits for another epoch."""
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(examples)
        for start in range(0, examples - batch + 1, batch):
            yield order[start : start + batch]


def _accuracy(model: Perceptron, state: dict[str, torch.Tensor], problem: NoisyProblem) -> float:
    model.load_state_dict(state)
    with torch.no_grad():
        guesses = model(torch.from_numpy(problem.test_features)).argmax(dim=1).numpy()
    return 100.0 * float((guesses == problem.test_labels).mean())
