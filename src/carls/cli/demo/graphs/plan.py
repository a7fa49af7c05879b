"""The plan of the demos: which runs are made."""

from __future__ import annotations

from dataclasses import replace

from carls.cli.demo.comparison.plan import Plan
from carls.cli.demo.graphs.recipe import Chosen, GraphRecipe

#: Steps of a quick run.
QUICK_STEPS = 30


def plan_of(chosen: Chosen, seeds: int, steps: int | None, quick: bool) -> Plan[GraphRecipe]:
    """The plan for what was asked on the command line.

    Args:
        steps: of each run; None: the tuned numbers, and with a goal the race and the sweep as well.
        quick: one seed and few steps: shows that it runs.
    """
    with_graph, without = chosen.with_graph, chosen.without
    if quick or steps is not None:
        with_graph, without = (
            replace(recipe, steps=steps or QUICK_STEPS) for recipe in (with_graph, without)
        )
    seeds = 1 if quick else seeds
    short = Plan(carls=with_graph, baseline=without, synchronous=with_graph, seeds=seeds)
    if quick or steps is not None or chosen.goal is None:
        return short
    return replace(short, goal=chosen.goal, every_step=chosen.every_step, race_seeds=seeds, sweep_seeds=seeds)
