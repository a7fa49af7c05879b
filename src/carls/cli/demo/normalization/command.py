"""The command `carls demo dynamic-normalization`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carls.cli.demo.options import (
    BANK_S,
    Json,
    Plot,
    Seeds,
    Steps,
    check_count,
    check_options,
    require_extra,
    written,
)
from carls.cli.results import write_json
from carls.client import connect


def dynamic_normalization(
    seeds: Seeds = 3,
    steps: Steps = None,
    json: Json = None,
    plot: Plot = Path("carls-dynamic-normalization.png"),
    bank: Annotated[
        str | None, typer.Option(help="URL of a running bank; without it one in this process is used.")
    ] = None,
) -> None:
    """Clothes in batches of 16, normalised by clusters in the bank, which also tell what is foreign."""
    check_options(seeds, json, plot)
    check_count("steps", steps)
    require_extra()
    from carls.cli.demo.fashion import load

    data = load()  # what is not there is found out before anything is started
    from carls.cli.demo.normalization.experiment import CASES, STEPS, run_cases
    from carls.cli.demo.normalization.report import to_results, to_tables, write_plot

    console = Console()
    with connect(bank, timeout_s=BANK_S) as connection:
        runs = run_cases(connection, data, seeds, steps or STEPS, console)
    if json is not None:
        settings = {case: asdict(chosen) for case, chosen in CASES.items()}
        config = {"seeds": seeds, "steps": steps or STEPS, "bank": bank, **settings}
        write_json(json, "demo dynamic-normalization", config, to_results(runs))
    write_plot(plot, runs)
    for table in to_tables(runs):
        console.print(table)
    console.print(written(json, plot), soft_wrap=True)
