"""The plan of the demo: which runs are made."""

from __future__ import annotations

from dataclasses import replace

from carls.cli.demo.comparison.plan import Plan
from carls.cli.demo.noisy.recipe import CHOSEN, GOALS, NoisyRecipe

#: Epochs of the case with a refresh at every step: until the goal.
RACE_EPOCHS = 11


def plan_of(noise: str, seeds: int, epochs: int | None, quick: bool) -> Plan[NoisyRecipe]:
    """The plan for what was asked on the command line.

    Args:
        epochs: of each run; None: the tuned number, and the race and the sweep as well.
        quick: one seed and three epochs: shows that it runs.
    """
    recipe = CHOSEN[noise]
    if quick or epochs is not None:
        recipe = replace(recipe, epochs=epochs or 3)
        return Plan(carls=recipe, baseline=recipe, synchronous=recipe, seeds=1 if quick else seeds)
    goal = GOALS[noise]
    return Plan(
        carls=recipe,
        baseline=recipe,
        synchronous=recipe,
        seeds=seeds,
        goal=goal,
        every_step=None if goal is None else replace(recipe, epochs=RACE_EPOCHS).every_step(),
        sweep_seeds=1,
    )
