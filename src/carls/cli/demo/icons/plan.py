"""The plan of the demo: which runs are made."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

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
        shorter = partial(replace, epochs=epochs or 1)
        if quick:
            shorter = partial(shorter, ramp_steps=20, refresh_steps=20)
        return Plan(
            carls=shorter(bank),
            baseline=shorter(in_batch),
            synchronous=shorter(inside),
            seeds=1 if quick else seeds,
        )
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
