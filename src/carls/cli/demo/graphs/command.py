"""The commands `carls demo digits` and `carls demo cora`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.syntax import Syntax

from carls.cli.demo.graphs.recipe import CORA, DIGITS, Recipe
from carls.cli.demo.options import (
    BankUrl,
    Json,
    Plot,
    Seeds,
    Steps,
    check_count,
    check_options,
    check_server,
    require,
    require_extra,
    together,
    written,
)
from carls.cli.results import write_json

if TYPE_CHECKING:
    from carls.cli.demo.graphs.problem import Problem

#: The program that the demo shows.
PROGRAM = Path(__file__).with_name("lines.py")


def digits(
    labels: Annotated[int, typer.Option(help="How many images have their labels known.")] = 50,
    seeds: Seeds = 5,
    steps: Steps = None,
    json: Json = None,
    plot: Plot = Path("carls-digits.png"),
    bank: BankUrl = None,
) -> None:
    """Handwritten digits from few labels: neighbours in the bank teach what labels do not."""
    require_extra()
    from carls.cli.demo.graphs.digits import digits as problem
    from carls.cli.demo.graphs.digits import largest_label_count

    require(1 <= labels <= largest_label_count(), "labels", labels, f"1 to {largest_label_count()}")
    arguments = {"labels": labels, "seeds": seeds, "steps": steps, "bank": bank}
    _demo("digits", lambda seed: problem(seed, labels), DIGITS, arguments, json, plot)


def cora(
    seeds: Seeds = 3,
    steps: Steps = None,
    json: Json = None,
    plot: Plot = Path("carls-cora.png"),
    bank: BankUrl = None,
) -> None:
    """Papers by their words and citations: the same code on a given graph."""
    require_extra()
    from carls.cli.demo.graphs.cora import cora as problem

    _demo("cora", problem, CORA, {"seeds": seeds, "steps": steps, "bank": bank}, json, plot)


def _demo(
    name: str,
    problem_of: Callable[[int], Problem],
    recipes: Mapping[str, Recipe],
    arguments: dict[str, Any],
    json: Path | None,
    plot: Path,
) -> None:
    seeds, steps = arguments["seeds"], arguments["steps"]
    check_options(seeds, json, plot)
    check_count("steps", steps)
    check_server(arguments["bank"])
    problem_of(0)  # data that is not there is found out before anything is started
    # These import torch and matplotlib, for which there was no need so far.
    from carls.cli.demo.graphs.experiment import run_experiment
    from carls.cli.demo.graphs.plot import write_plot
    from carls.cli.demo.graphs.report import to_results, to_table

    console = Console()
    with_graph, without = (
        recipe if steps is None else replace(recipe, steps=steps)
        for recipe in (recipes["with graph"], recipes["without"])
    )
    outcome = run_experiment(name, problem_of, with_graph, without, seeds, arguments["bank"], console)
    if json is not None:
        config = {**arguments, "with graph": asdict(with_graph), "without": asdict(without)}
        write_json(json, f"demo {name}", config, to_results(outcome))
    write_plot(plot, name, outcome)
    console.print(_lines())
    console.print(to_table(name, outcome))
    console.print(f"{together(outcome.processes)} (the last seed's maker).")
    console.print(written(json, plot), soft_wrap=True)


def _lines() -> Syntax:
    """The program that the demo is a longer form of, as source text."""
    return Syntax(PROGRAM.read_text(), "python", background_color="default")
