"""What the trainer of the demo knows of all icons."""

from __future__ import annotations

import numpy as np
import torch

from carls.cli.demo.comparison.knowledge import Knowledge
from carls.cli.demo.comparison.plan import Way
from carls.cli.demo.comparison.refreshers import Making
from carls.cli.demo.icons.collection import Icons
from carls.cli.demo.icons.encoder import Encoder
from carls.cli.demo.icons.recipe import IconRecipe
from carls.cli.demo.icons.towers import DIM
from carls.client import Bank
from carls.makers import TowerMaker
from carls.torch import BankContrastiveLoss

#: Icons given to a maker at a time.
MAKER_BATCH = 1024


class IconKnowledge(Knowledge):
    """All icons' texts and images, embedded, in a bank, and the loss that compares with them.

    Attributes:
        loss: reads both tables.
    """

    def __init__(self, way: Way, bank: Bank, table: str, icons: Icons, recipe: IconRecipe) -> None:
        texts = bank.embeddings(f"{table}.texts", dim=DIM, keys="int64")
        images = bank.embeddings(f"{table}.images", dim=DIM, keys="int64")
        self.loss = BankContrastiveLoss(
            texts,
            images,
            icons.train,
            groups=icons.groups[icons.train],
            temperature=recipe.temperature,
            ramp_steps=recipe.ramp_steps,
            positives=recipe.positives,
        )
        self._inside = way is Way.INSIDE
        self._drift = recipe.drift_checkpoints
        maker = TowerMaker(Encoder(icons, way.threads).encode, texts, images)
        super().__init__(way, recipe, Making(maker, np.sort(icons.train), MAKER_BATCH, [texts, images]))

    def before_step(self, model: torch.nn.Module, step: int) -> None:
        """Prepare a step; what comes in later than the drift limit allows has to be there."""
        self.refresh(model, step)
        if not self.due(step):
            return
        if self._inside:
            self.loss.refresh(step=step)
        elif self._drift is not None:
            self.loss.refresh(step=step, at_least=max(step - self._drift * self._refresh_steps, 0))

    def close(self) -> None:
        self.loss.close()
        super().close()
