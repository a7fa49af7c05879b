"""The settings of training runs on icons."""

from __future__ import annotations

from dataclasses import dataclass

from carls.cli.demo.comparison.plan import Recipe


@dataclass(frozen=True, kw_only=True)
class IconRecipe(Recipe):
    """Settings of one training run.

    Attributes:
        epochs: walks over the icons.
        stop_epochs: walks after which the run ends; the learning rate falls as if it went on; None: all.
        batch: icons in a step.
        learning_rate: of AdamW, from which it falls to 0 along a cosine.
        weight_decay: of AdamW.
        word_dropout: share of an icon's words left out at a step.
        temperature: of the contrastive loss.
        ramp_steps: in which the comparison with the bank sets in, from the first rows on.
        positives: "bank" or "fresh", as in `BankContrastiveLoss`.
    """

    epochs: int = 10
    stop_epochs: int | None = None
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    word_dropout: float = 0.2
    temperature: float = 0.05
    ramp_steps: int = 121
    refresh_steps: int = 60
    positives: str = "bank"


# Chosen on the validation icons, never on test icons; see docs/multimodal.md.
BANK = IconRecipe()
IN_BATCH = IconRecipe(temperature=0.15)
#: Every 200 steps the trainer finds as much as every 20 or 60, and loses the least time.
SYNCHRONOUS = IconRecipe(refresh_steps=200)
#: Recall@1 in percent that the ways are compared at by time, on the random split.
GOAL = 30.0
