"""The experiment: for each split, fits in one place and a race; for the first split, the other ways too."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from carls.cli.demo.school import fits
from carls.cli.demo.school.fits import Fit
from carls.cli.demo.school.problem import Problem
from carls.cli.demo.school.pupils import Pupils
from carls.cli.demo.school.race import CARLS, GRADIENT, WAYS, Race, run_race
from carls.cli.demo.school.recipe import SchoolRecipe
from carls.cli.demo.school.relations import Relations, relations
from carls.client import connect
from carls.service import BankProcess


@dataclass(frozen=True, eq=False)
class Trial:
    """One split of the pupils.

    Attributes:
        held: pupils that nothing was fitted to.
        together: fits in one place by each coupling, the chosen one first.
        alone: each school by itself.
        pooled: one model for all pupils.
        races: way -> race to the models of the chosen coupling; `CARLS` at least.
    """

    held: Pupils
    together: list[Fit]
    alone: Fit
    pooled: Fit
    races: dict[str, Race]


@dataclass(eq=False)
class Outcome:
    """What came out.

    Attributes:
        recipe: what was done.
        trials: one for each seed.
        relations: of the schools' models, first split.
        processes: role -> process id, of the processes that worked together for the first split.
    """

    recipe: SchoolRecipe
    trials: list[Trial] = field(default_factory=list)
    relations: Relations | None = None
    processes: dict[str, int] = field(default_factory=lambda: {"watcher": os.getpid()})


def run_experiment(
    pupils: Pupils, recipe: SchoolRecipe, seeds: int, bank_url: str | None, console: Console
) -> Outcome:
    """Split the pupils by seeds 0, 1, ...; couple the schools by the way that cross-validation chooses.

    Args:
        pupils: of the schools of the recipe.
        bank_url: of a running bank; None starts one and stops it in the end.
    """
    outcome = Outcome(recipe)
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))  # the matrices are small, and the nodes want the cores
        if bank_url is None:
            server = stack.enter_context(BankProcess())
            bank_url, outcome.processes["bank"] = server.url, server.pid
        bank = stack.enter_context(connect(bank_url))
        columns = TextColumn("{task.description:38}"), BarColumn(), TimeElapsedColumn()
        bars = stack.enter_context(Progress(*columns, console=console))
        for seed in range(seeds):
            train, held = pupils.split(seed, recipe.share)
            bar = bars.add_task(f"split {seed}: cross-validation", total=None)
            found = fits.together(train, recipe, seed)
            alone, pooled = fits.alone(train, recipe, seed), fits.pooled(train, recipe, seed)
            bars.update(bar, total=1, completed=1)
            problem = Problem.of(train, found[0].name, found[0].rho)
            races: dict[str, Race] = {}
            for way in WAYS if seed == 0 else (CARLS,):
                # Gradient steps do not get there: they are given up after twice our time.
                longest_s = 2 * races[CARLS].last.seconds if way == GRADIENT else recipe.longest_s
                bar = bars.add_task(f"split {seed}: {way}", total=longest_s)
                advance = partial(_advance, bars, bar)
                races[way] = run_race(bank, problem, way, recipe, seed, longest_s, advance)
                bars.update(bar, total=races[way].last.seconds)
            outcome.trials.append(Trial(held, found, alone, pooled, races))
            if outcome.relations is None:
                outcome.relations = relations(races[CARLS].models, train)
                pids = enumerate(races[CARLS].pids, 1)
                outcome.processes.update({f"schools {number}": pid for number, pid in pids})
    return outcome


def _advance(bars: Progress, bar: TaskID, seconds: float) -> None:
    bars.update(bar, completed=seconds)
