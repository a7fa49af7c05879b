"""What the trainer of the demo knows of its labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.comparison.knowledge import Knowledge
from carls.cli.demo.comparison.plan import Way
from carls.cli.demo.comparison.refreshers import Making
from carls.cli.demo.noisy.maker import Examples
from carls.cli.demo.noisy.problem import NoisyProblem
from carls.cli.demo.noisy.recipe import NoisyRecipe
from carls.client import Bank
from carls.makers import LabelQualityMaker
from carls.torch import CurriculumLoss, SoftWeights

#: Examples given to a maker at a time.
MAKER_BATCH = 2048

Batch = npt.NDArray[np.int64]


class LabelKnowledge(Knowledge):
    """Quality of labels in a bank, and the loss that weighs examples by it.

    Attributes:
        loss: reads the table.
    """

    def __init__(self, way: Way, bank: Bank, table: str, problem: NoisyProblem, recipe: NoisyRecipe) -> None:
        quality = bank.features(table, LabelQualityMaker.QUALITY, keys="int64")
        examples = Examples(problem.features, problem.given, way.threads)
        maker = LabelQualityMaker(quality, examples.predict, examples.labels, decay=recipe.decay)
        self.loss = CurriculumLoss(
            quality,
            SoftWeights(power=recipe.power),
            warmup_steps=recipe.warmup_steps,
            ramp_steps=recipe.ramp_steps,
        )
        super().__init__(way, recipe, Making(maker, problem.keys, MAKER_BATCH, [quality]))

    def before_step(self, model: torch.nn.Module, step: int, now: Batch, following: Batch) -> None:
        """Prepare a step on the examples `now`; those of the next step are `following`."""
        self.refresh(model, step)
        if step == 0:
            self.loss.prefetch(now, step=step)
        self.loss.prefetch(following, step=step + 1)

    def due(self, step: int) -> bool:
        # The averages begin with a network that has learned something.
        return step > 0 and super().due(step)
