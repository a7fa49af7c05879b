"""Where a trainer gets the quality of its labels from: a bank and a maker, or itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.noisy.maker import Examples
from carls.cli.demo.noisy.problem import NoisyProblem
from carls.cli.demo.noisy.recipe import NoisyRecipe
from carls.client import Bank, DriftLimit, Model
from carls.keys import Keys
from carls.makers import LabelQualityMaker
from carls.torch import CurriculumLoss, SoftWeights

#: Longest wait for a maker to answer a checkpoint, in seconds.
MAKER_S = 30.0
#: Examples given to a maker at a time.
MAKER_BATCH = 2048

Batch = npt.NDArray[np.int64]


class Knowledge(ABC):
    """Quality of labels in a bank, and the loss that weighs examples by it.

    Attributes:
        quality: the table.
        maker: makes its rows.
        loss: reads them.
        waited_s: seconds that the trainer has waited for a maker.
    """

    #: Threads that the maker computes with.
    threads: ClassVar[int]

    def __init__(self, bank: Bank, table: str, problem: NoisyProblem, recipe: NoisyRecipe) -> None:
        self.quality = bank.features(table, LabelQualityMaker.QUALITY, keys="int64")
        examples = Examples(problem.features, problem.given, self.threads)
        self.maker = LabelQualityMaker(self.quality, examples.predict, examples.labels, decay=recipe.decay)
        self.loss = CurriculumLoss(
            self.quality,
            SoftWeights(power=recipe.power),
            warmup_steps=recipe.warmup_steps,
            ramp_steps=recipe.ramp_steps,
        )
        self.waited_s = 0.0
        self._refresh_steps = recipe.refresh_steps

    def before_step(self, model: torch.nn.Module, step: int, now: Batch, following: Batch) -> None:
        """Prepare a step on the examples `now`; those of the next step are `following`."""
        if step > 0 and step % self._refresh_steps == 0:
            self._refresh(model, step)
        if step == 0:
            self.loss.prefetch(now, step=step)
        self.loss.prefetch(following, step=step + 1)

    def close(self) -> None:
        """Drop the table and close its handle."""
        self.quality.close()
        self.quality.bank.drop(self.quality.name)

    @abstractmethod
    def _refresh(self, model: torch.nn.Module, step: int) -> None:
        """See to rows from the model as it is."""


class BankKnowledge(Knowledge):
    """Publishes checkpoints for a maker that writes to the bank.

    Args:
        table: name of the table and of the model.
    """

    threads = 1  # the trainer computes at the same time

    def __init__(self, bank: Bank, table: str, problem: NoisyProblem, recipe: NoisyRecipe) -> None:
        super().__init__(bank, table, problem, recipe)
        drift = recipe.drift_checkpoints
        steps = None if drift is None else drift * recipe.refresh_steps
        self._limit = DriftLimit(self.quality, steps, timeout_s=MAKER_S)

    def _refresh(self, model: torch.nn.Module, step: int) -> None:
        self.quality.bank.models.publish(self.quality.name, model.state_dict(), step=step)
        self.waited_s += self._limit.wait(step)


class OwnKnowledge(Knowledge):
    """Lets the maker work inside the trainer, which stands still meanwhile."""

    threads = 2

    def __init__(self, bank: Bank, table: str, problem: NoisyProblem, recipe: NoisyRecipe) -> None:
        super().__init__(bank, table, problem, recipe)
        self._keys = problem.keys

    def _refresh(self, model: torch.nn.Module, step: int) -> None:
        tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        checkpoint = Model(self.quality.name, step, step, 0.0, "", tensors)
        for start in range(0, len(self._keys), MAKER_BATCH):
            keys = Keys.of(self._keys[start : start + MAKER_BATCH])
            for write in self.maker.make(checkpoint, keys):
                self.quality.assign(write.keys, write.values, step=step)
