"""The command `carls demo movielens`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carls.cli.demo.options import (
    BankUrl,
    Epochs,
    Json,
    Plot,
    Seeds,
    check_count,
    check_options,
    check_server,
    require_extra,
    together,
    written,
)
from carls.cli.results import write_json


def movielens(
    seeds: Seeds = 3,
    epochs: Epochs = None,
    validation: Annotated[
        bool, typer.Option("--validation", help="Guess the last film but one, without knowing the last.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="50 users, one pass, one seed: shows that it runs.")
    ] = False,
    json: Json = None,
    plot: Plot = Path("carls-movielens.png"),
    bank: BankUrl = None,
) -> None:
    """Films to watch next: users and films are rows of a bank, which also draws films to compare with."""
    require_extra()
    seeds, epochs = (1, 1) if quick else (seeds, epochs)
    check_count("epochs", epochs)
    arguments = {"seeds": seeds, "epochs": epochs, "validation": validation, "quick": quick, "bank": bank}
    check_options(seeds, json, plot)
    check_server(bank)
    from carls.cli.demo.films.ratings import load
    from carls.cli.demo.films.recipe import RECIPE

    ratings = load()
    ratings = ratings.without_last() if validation else ratings
    ratings = ratings.of_first(50) if quick else ratings
    # These import torch and matplotlib, for which there was no need so far.
    from carls.cli.demo.films.experiment import run_experiment
    from carls.cli.demo.films.plot import write_plot
    from carls.cli.demo.films.report import to_results, to_table

    console = Console()
    recipe = RECIPE if epochs is None else replace(RECIPE, epochs=epochs)
    outcome = run_experiment(ratings, recipe, seeds, bank, console)
    if json is not None:
        config = {**arguments, "recipe": asdict(recipe)}
        write_json(json, "demo movielens", config, to_results(outcome))
    guessed = "last film but one" if validation else "last film"
    title = f"movielens: the {guessed} of {ratings.users} users, {seeds} seed{'s' if seeds > 1 else ''}"
    write_plot(plot, outcome, title)
    console.print(to_table(outcome, title))
    console.print(together(outcome.processes) + ".")
    console.print(written(json, plot), soft_wrap=True)
