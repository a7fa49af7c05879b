"""What the command of a comparison does once its options are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from carls.cli.demo.comparison.experiment import run_experiment
from carls.cli.demo.comparison.paradigm import K, P, Paradigm
from carls.cli.demo.comparison.plan import Plan, R
from carls.cli.demo.comparison.plot import write_plot
from carls.cli.demo.comparison.report import to_results, to_tables
from carls.cli.demo.options import together, written
from carls.cli.results import write_json


def compare(
    paradigm: Paradigm[P, R, K],
    plan: Plan[R],
    title: str,
    config: Mapping[str, Any],
    json: Path | None,
    plot: Path,
    bank: str | None,
) -> None:
    """Run a plan; print its tables, write its figures and draw its plot.

    Args:
        title: of the first table and of the plot.
        config: what was asked besides the plan, for the figures.
        json: file for the figures; None: they are not written.
        plot: file for the plot.
        bank: URL of a running bank; None: one is started.
    """
    console = Console()
    outcome = run_experiment(paradigm, plan, bank, console)
    if json is not None:
        facts = {**config, **asdict(plan), "bank": bank}
        write_json(json, f"demo {paradigm.name}", facts, to_results(outcome, paradigm.score))
    write_plot(plot, outcome, title, paradigm.score)
    for table in to_tables(outcome, title, paradigm.score, paradigm.baseline):
        console.print(table)
    console.print(together(outcome.processes) + " (the last run's maker).")
    console.print(written(json, plot), soft_wrap=True)
