"""The command `carls demo noisy-labels`."""

from __future__ import annotations

from dataclasses import asdict
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
    require,
    require_extra,
    together,
    written,
)
from carls.cli.results import write_json


def noisy_labels(
    noise: Annotated[str, typer.Option(help="Which labels are wrong: symmetric, asymmetric.")] = "symmetric",
    seeds: Seeds = 3,
    epochs: Epochs = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and three epochs: shows that it runs.")
    ] = False,
    json: Json = None,
    plot: Plot = Path("carls-noisy-labels.png"),
    bank: BankUrl = None,
) -> None:
    """Clothes of which four in ten labels are wrong: checkpoints tell which labels to believe."""
    require_extra()
    from carls.cli.demo.fashion import load
    from carls.cli.demo.noisy.problem import NOISES

    require(noise in NOISES, "noise", noise, " or ".join(NOISES))
    check_count("epochs", epochs)
    check_options(seeds, json, plot)
    check_server(bank)
    data = load()  # what is not there is found out before anything is started
    from carls.cli.demo.noisy.experiment import run_experiment
    from carls.cli.demo.noisy.plan import NoisyPlan
    from carls.cli.demo.noisy.plot import write_plot
    from carls.cli.demo.noisy.report import to_results, to_tables

    console = Console()
    plan = NoisyPlan.of(noise, seeds, epochs, quick)
    outcome = run_experiment(data, plan, bank, console)
    if json is not None:
        write_json(json, "demo noisy-labels", {**asdict(plan), "bank": bank}, to_results(outcome))
    write_plot(plot, outcome)
    for table in to_tables(outcome):
        console.print(table)
    console.print(together(outcome.processes) + " (the last seed's maker).")
    console.print(written(json, plot), soft_wrap=True)
