"""The command `carls demo school`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carls.cli.demo.options import (
    BankUrl,
    Json,
    Plot,
    check_count,
    check_options,
    check_server,
    require,
    require_extra,
    together,
    written,
)
from carls.cli.results import write_json

#: Longest mean delay of the network, in seconds: no run would reach its goal in time.
LONGEST_DELAY_S = 5.0


def school(
    seeds: Annotated[int, typer.Option(help="Splits of the pupils, by seeds 0, 1, ...")] = 3,
    processes: Annotated[
        int | None,
        typer.Option(help="Processes that have the schools; the usual number if not given."),
    ] = None,
    delay: Annotated[
        float | None,
        typer.Option(help="Mean delay of the network, in seconds; the usual one if not given."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="8 schools, one split, short delays: shows that it runs.")
    ] = False,
    json: Json = None,
    plot: Plot = Path("carls-school.png"),
    bank: BankUrl = None,
) -> None:
    """Schools whose data stay where they are learn from one another's models, without waiting."""
    require_extra()
    from carls.cli.demo.school.recipe import QUICK, SchoolRecipe

    recipe = QUICK if quick else SchoolRecipe()
    seeds = 1 if quick else seeds
    check_count("processes", processes)
    require(
        processes is None or processes <= recipe.schools,
        "processes",
        processes,
        f"at most {recipe.schools}, one for each school",
    )
    require(
        delay is None or 0 <= delay <= LONGEST_DELAY_S, "delay", delay, f"0 to {LONGEST_DELAY_S:g} seconds"
    )
    check_options(seeds, json, plot)
    check_server(bank)
    recipe = replace(
        recipe,
        processes=recipe.processes if processes is None else processes,
        delay_s=recipe.delay_s if delay is None else delay,
    )
    from carls.cli.demo.school.pupils import load

    pupils = load().of_first(recipe.schools)  # what is not there is found out before anything is started
    # These import matplotlib and scikit-learn, for which there was no need so far.
    from carls.cli.demo.school.experiment import run_experiment
    from carls.cli.demo.school.plot import write_plot
    from carls.cli.demo.school.report import to_results, to_tables

    console = Console()
    outcome = run_experiment(pupils, recipe, seeds, bank, console)
    if json is not None:
        config = {"seeds": seeds, "quick": quick, "bank": bank, "recipe": asdict(recipe)}
        write_json(json, "demo school", config, to_results(outcome))
    write_plot(plot, outcome)
    title = (
        f"school: {pupils.count:,} pupils of {len(pupils.schools)} schools, "
        f"{seeds} split{'s' if seeds > 1 else ''}"
    )
    for table in to_tables(outcome, title):
        console.print(table)
    console.print(f"{together(outcome.processes)}.", soft_wrap=True)
    console.print(written(json, plot), soft_wrap=True)
