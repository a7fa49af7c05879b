"""The experiment: every recommender for every seed, one of them with a bank beside it."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from carls.cli.demo.films.ratings import Ratings
from carls.cli.demo.films.recipe import FilmRecipe
from carls.cli.demo.films.recommenders import BankRecommender, OwnRecommender, Popularity
from carls.cli.demo.films.trial import Trial, run_trial, steps_of
from carls.client import connect
from carls.service import BankProcess

#: The cases, the headline case first.
CASES = ("carls", "baseline", "synchronous")


@dataclass(eq=False)
class Outcome:
    """What came out.

    Attributes:
        trials: case -> a trial for each seed.
        processes: role -> process id, of the processes that worked together.
    """

    trials: dict[str, list[Trial]] = field(default_factory=lambda: {case: [] for case in CASES})
    processes: dict[str, int] = field(default_factory=dict)


def run_experiment(
    ratings: Ratings,
    recipe: FilmRecipe,
    seeds: int,
    bank_url: str | None,
    console: Console,
) -> Outcome:
    """Train and test every case for seeds 0, 1, ...: this process trains, another holds the bank.

    Args:
        recipe: of the trainers with and without the bank.
        bank_url: of a running bank; None starts one and stops it in the end.
    """
    torch.set_num_threads(1)
    outcome = Outcome()
    # The popular films are the same for every seed.
    popular = Popularity(ratings.without_last())
    outcome.trials["baseline"].append(run_trial(popular, ratings, replace(recipe, epochs=0), 0))
    with ExitStack() as stack:
        if bank_url is None:
            server = stack.enter_context(BankProcess())
            bank_url, outcome.processes["bank"] = server.url, server.pid
        bank = stack.enter_context(connect(bank_url))
        outcome.processes["trainer"] = os.getpid()
        columns = TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        bars = stack.enter_context(Progress(*columns, console=console))
        total = seeds * steps_of(ratings, recipe)
        tasks = {case: bars.add_task(f"movielens {case}", total=total) for case in ("carls", "synchronous")}
        for seed in range(seeds):
            # A name of our own: the bank may be one that others use.
            name = f"demo.movielens.{os.urandom(4).hex()}.{seed}"
            with closing(BankRecommender(bank, name, ratings, recipe, seed)) as learner:
                trial = run_trial(learner, ratings, recipe, seed, lambda: bars.advance(tasks["carls"]))
            outcome.trials["carls"].append(trial)
            own = OwnRecommender(ratings, recipe, seed)
            trial = run_trial(own, ratings, recipe, seed, lambda: bars.advance(tasks["synchronous"]))
            outcome.trials["synchronous"].append(trial)
    return outcome
