"""The paradigm of the demo: two towers, compared with all icons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from carls.cli.demo.comparison.paradigm import Paradigm
from carls.cli.demo.comparison.plan import Way
from carls.cli.demo.comparison.recorder import Recorder
from carls.cli.demo.comparison.run import Run
from carls.cli.demo.icons.collection import Icons
from carls.cli.demo.icons.knowledge import IconKnowledge
from carls.cli.demo.icons.recipe import IconRecipe
from carls.cli.demo.icons.towers import Towers
from carls.client import Bank
from carls.keys import Int64s

#: Steps between two tests, for the curves.
TEST_STEPS = 40


class FindingIcons(Paradigm[Icons, IconRecipe, IconKnowledge]):
    """Texts find images among the test icons.

    Args:
        icons: the collection, divided.
    """

    name: ClassVar[str] = "icons"
    score: ClassVar[str] = "recall@1"
    baseline: ClassVar[str] = "in-batch negatives"

    def __init__(self, icons: Icons) -> None:
        self._icons = icons

    def problem(self, seed: int) -> Icons:  # noqa: ARG002 - the division is the same for all seeds
        return self._icons

    def steps(self, problem: Icons, recipe: IconRecipe) -> int:
        return (recipe.stop_epochs or recipe.epochs) * (len(problem.train) // recipe.batch)

    def knowledge(
        self, way: Way, bank: Bank, table: str, problem: Icons, recipe: IconRecipe
    ) -> IconKnowledge:
        return IconKnowledge(way, bank, table, problem, recipe)

    def train(
        self,
        problem: Icons,
        recipe: IconRecipe,
        seed: int,
        knowledge: IconKnowledge | None,
        advance: Callable[[], None],
    ) -> Run:
        torch.manual_seed(seed)
        model = Towers(recipe.word_dropout)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        words, images = torch.from_numpy(problem.words), torch.from_numpy(problem.images)
        steps = self.steps(problem, recipe)
        planned = recipe.epochs * (len(problem.train) // recipe.batch)
        recorder = Recorder(model, steps, TEST_STEPS)
        batches = _batches(problem.train, recipe.batch, seed)
        for step in range(steps):
            with recorder.step(step):
                now = next(batches)
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * (1 + math.cos(math.pi * step / planned)) / 2
                if knowledge is not None:
                    knowledge.before_step(model, step)
                texts, pictures = model(words[now], images[now])
                if knowledge is None:
                    loss = in_batch(texts, pictures, recipe.temperature, problem.groups[now])
                else:
                    loss = knowledge.loss(texts, pictures, now, step=step)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            if knowledge is not None and (read := knowledge.loss.last_read) is not None:
                # Every hundredth row tells as much: a maker writes them one after another.
                recorder.read(read.staleness[::100], read.masked)
            advance()
        waited_s = 0.0 if knowledge is None else knowledge.waited_s
        others = {f"recall@{k}": partial(recall, model, problem, k) for k in (5, 10)}
        return recorder.finish(lambda: recall(model, problem, 1), waited_s, others)


def in_batch(texts: torch.Tensor, images: torch.Tensor, temperature: float, groups: Int64s) -> torch.Tensor:
    """The symmetrical contrastive loss of a batch within itself: CLIP's; equal images are no negatives."""
    scores = functional.normalize(texts) @ functional.normalize(images).T / temperature
    same = groups[:, None] == groups
    np.fill_diagonal(same, False)
    if same.any():
        scores = scores.masked_fill(torch.from_numpy(same), -torch.inf)
    own = torch.arange(len(scores))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def recall(model: Towers, icons: Icons, k: int) -> float:
    """How often, in percent, a test icon's image is among the k of all test icons nearest to its text.

    Images that score the same as its own count as farther: the same images are told apart by nothing.
    """
    model.eval()
    with torch.no_grad():
        texts, images = model(
            torch.from_numpy(icons.words[icons.test]), torch.from_numpy(icons.images[icons.test])
        )
    model.train()
    scores = functional.normalize(texts) @ functional.normalize(images).T
    nearer = (scores > scores.diagonal()[:, None]).sum(dim=1)
    return 100.0 * float((nearer < k).float().mean())


def _batches(keys: Int64s, batch: int, seed: int) -> Iterator[Int64s]:
    """Batches of whole epochs, each in an order of its own; what is left over waits for another epoch."""
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(keys)
        for start in range(0, len(keys) - batch + 1, batch):
            yield order[start : start + batch]
