"""The commands `carls demo ...`, one for each problem."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.syntax import Syntax

from carls.cli.demo.recipe import CORA, DIGITS, Recipe
from carls.cli.results import check_writable, write_json
from carls.client import connect
from carls.errors import CarlsError, InvalidRequestError

if TYPE_CHECKING:
    from carls.cli.demo.problem import Problem

#: The program that the demo shows.
PROGRAM = Path(__file__).with_name("lines.py")
#: Longest wait for the bank that was named, in seconds.
_BANK_S = 3.0
_PLOT_FORMATS = (".png", ".pdf", ".svg")

app = typer.Typer(help="A bank, a trainer and a maker learn together on real data.", no_args_is_help=True)

Seeds = Annotated[int, typer.Option(help="Runs of each case, with seeds 0, 1, ...")]
Steps = Annotated[int | None, typer.Option(help="Training steps; the tuned number if not given.")]
Json = Annotated[Path | None, typer.Option(help="File to write the figures to.")]
Plot = Annotated[Path, typer.Option(help="File to draw the plot to (.png, .pdf, .svg).")]
BankUrl = Annotated[str | None, typer.Option(help="URL of a running bank; without it one is started.")]


@app.command()
def digits(
    labels: Annotated[int, typer.Option(help="How many images have their labels known.")] = 50,
    seeds: Seeds = 5,
    steps: Steps = None,
    json: Json = None,
    plot: Plot = Path("carls-digits.png"),
    bank: BankUrl = None,
) -> None:
    """Handwritten digits from few labels: neighbours in the bank teach what labels do not."""
    _require_extra()
    from carls.cli.demo.digits import digits as problem
    from carls.cli.demo.digits import largest_label_count

    _require(1 <= labels <= largest_label_count(), "labels", labels, f"1 to {largest_label_count()}")
    arguments = {"labels": labels, "seeds": seeds, "steps": steps, "bank": bank}
    _demo("digits", lambda seed: problem(seed, labels), DIGITS, arguments, json, plot)


@app.command()
def cora(
    seeds: Seeds = 3,
    steps: Steps = None,
    json: Json = None,
    plot: Plot = Path("carls-cora.png"),
    bank: BankUrl = None,
) -> None:
    """Papers by their words and citations: the same code on a given graph."""
    _require_extra()
    from carls.cli.demo.cora import cora as problem

    _demo("cora", problem, CORA, {"seeds": seeds, "steps": steps, "bank": bank}, json, plot)


@app.command()
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
    _check_options(seeds, steps, json, plot)
    _require_extra()
    from carls.cli.demo.fashion import load

    data = load()  # what is not there is found out before anything is started
    from carls.cli.demo.normalization import CASES, STEPS, run_cases
    from carls.cli.demo.normalization_report import to_results, to_tables, write_plot

    console = Console()
    with connect(bank, timeout_s=_BANK_S) as connection:
        runs = run_cases(connection, data, seeds, steps or STEPS, console)
    if json is not None:
        settings = {case: asdict(chosen) for case, chosen in CASES.items()}
        config = {"seeds": seeds, "steps": steps or STEPS, "bank": bank, **settings}
        write_json(json, "demo dynamic-normalization", config, to_results(runs))
    write_plot(plot, runs)
    for table in to_tables(runs):
        console.print(table)
    console.print(_written(json, plot), soft_wrap=True)


@app.command()
def movielens(
    seeds: Seeds = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes; the tuned number if not given.")] = None,
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
    _require_extra()
    seeds, epochs = (1, 1) if quick else (seeds, epochs)
    _require(epochs is None or epochs >= 1, "epochs", epochs, "1 or more")
    arguments = {"seeds": seeds, "epochs": epochs, "validation": validation, "quick": quick, "bank": bank}
    _check_options(seeds, None, json, plot)
    _check_server(bank)
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
    console.print(_together(outcome.processes) + ".")
    console.print(_written(json, plot), soft_wrap=True)


@app.command()
def noisy_labels(
    noise: Annotated[str, typer.Option(help="Which labels are wrong: symmetric, asymmetric.")] = "symmetric",
    seeds: Seeds = 3,
    epochs: Annotated[
        int | None, typer.Option(help="Walks over the images; the tuned number if not given.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and three epochs: shows that it runs.")
    ] = False,
    json: Json = None,
    plot: Plot = Path("carls-noisy-labels.png"),
    bank: BankUrl = None,
) -> None:
    """Clothes of which four in ten labels are wrong: checkpoints tell which labels to believe."""
    _require_extra()
    from carls.cli.demo.fashion import load
    from carls.cli.demo.noisy.problem import NOISES

    _require(noise in NOISES, "noise", noise, " or ".join(NOISES))
    _require(epochs is None or epochs >= 1, "epochs", epochs, "1 or more")
    _check_options(seeds, None, json, plot)
    _check_server(bank)
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
    console.print(_together(outcome.processes) + " (the last seed's maker).")
    console.print(_written(json, plot), soft_wrap=True)


def _demo(
    name: str,
    problem_of: Callable[[int], Problem],
    recipes: Mapping[str, Recipe],
    arguments: dict[str, Any],
    json: Path | None,
    plot: Path,
) -> None:
    seeds, steps = arguments["seeds"], arguments["steps"]
    _check_options(seeds, steps, json, plot)
    _check_server(arguments["bank"])
    problem_of(0)  # data that is not there is found out before anything is started
    # These import torch and matplotlib, for which there was no need so far.
    from carls.cli.demo.experiment import run_experiment
    from carls.cli.demo.plot import write_plot
    from carls.cli.demo.report import to_results, to_table

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
    console.print(f"{_together(outcome.processes)} (the last seed's maker).")
    console.print(_written(json, plot), soft_wrap=True)


def _check_options(seeds: int, steps: int | None, json: Path | None, plot: Path) -> None:
    _require(seeds >= 1, "seeds", seeds, "1 or more")
    _require(steps is None or steps >= 1, "steps", steps, "1 or more")
    _require(plot.suffix in _PLOT_FORMATS, "plot", plot, f"a file name ending in one of {_PLOT_FORMATS}")
    for path in (json, plot):
        if path is not None:
            check_writable(path)


def _check_server(bank: str | None) -> None:
    if bank is not None:
        _require(bank != "memory://", "bank", "memory://", "a server that processes can share")
        connect(bank, timeout_s=_BANK_S).close()


def _together(processes: dict[str, int]) -> str:
    roles = ", ".join(f"{role} {pid}" for role, pid in sorted(processes.items()))
    return f"Processes that learned together: {roles}"


def _written(json: Path | None, plot: Path) -> str:
    return f"Plot: {plot}" + ("" if json is None else f"   Figures: {json}")


def _lines() -> Syntax:
    """The program that the demo is a longer form of, as source text."""
    return Syntax(PROGRAM.read_text(), "python", background_color="default")


def _require_extra() -> None:
    missing = [name for name in ("torch", "sklearn", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise CarlsError(f"the demos need {', '.join(missing)}: install with pip install 'carls[demo]'")


def _require(holds: bool, option: str, value: object, expected: str) -> None:
    if not holds:
        raise InvalidRequestError(f"--{option} {value}: expected {expected}")
