"""The plan of the demo: which runs are made."""

from __future__ import annotations

from dataclasses import replace

from carls.cli.demo.comparison.plan import Plan
from carls.cli.demo.icons.recipe import BANK, GOAL, IN_BATCH, SYNCHRONOUS, IconRecipe

#: Epochs of the case with a refresh at every step: until the goal.
RACE_EPOCHS = 4


def plan_of(split: str, seeds: int, epochs: int | None, quick: bool, positives: str) -> Plan[IconRecipe]:
    """The plan for what was asked on the command line.

    Args:
        epochs: of each run; None: the tuned number, and on the random split the race and the sweep as well.
        quick: one seed and one epoch: shows that it runs.
    """
    bank, inside = [replace(recipe, positives=positives) for recipe in (BANK, SYNCHRONOUS)]
    in_batch = IN_BATCH
    if quick or epochs is not None:
        bank, in_batch, inside = [replace(recipe, epochs=epochs or 1) for recipe in (bank, in_batch, inside)]
        return Plan(carls=bank, baseline=in_batch, synchronous=inside, seeds=1 if quick else seeds)
    raced = split == "random" and positives == "bank"
    return Plan(
        carls=bank,
        baseline=in_batch,
        synchronous=inside,
        seeds=seeds,
        goal=GOAL if raced else None,
        every_step=replace(bank, stop_epochs=RACE_EPOCHS, refresh_steps=1) if raced else None,
        sweep_seeds=1 if raced else 0,
    )
