"""The commands `carls demo digits` and `carls demo cora`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax

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
)

#: The program that the demo shows.
PROGRAM = Path(__file__).with_name("lines.py")

Quick = Annotated[bool, typer.Option("--quick", help="One seed and few steps: shows that it runs.")]


def digits(
    labels: Annotated[int, typer.Option(help="How many images have their labels known.")] = 50,
    neighbours: Annotated[
        str, typer.Option(help="By pixels alone, or half by what the network makes of them: pixels, learned.")
    ] = "pixels",
    seeds: Seeds = 5,
    steps: Steps = None,
    quick: Quick = False,
    json: Json = None,
    plot: Plot = Path("carls-digits.png"),
    bank: BankUrl = None,
) -> None:
    """Handwritten digits from few labels: neighbours in the bank teach what labels do not."""
    require_extra()
    from carls.cli.demo.graphs.digits import largest_label_count
    from carls.cli.demo.graphs.recipe import CHOSEN, LEARNED_SHARE

    require(1 <= labels <= largest_label_count(), "labels", labels, f"1 to {largest_label_count()}")
    require(neighbours in ("pixels", "learned"), "neighbours", neighbours, "pixels or learned")
    check_count("steps", steps)
    check_options(seeds, json, plot)
    check_server(bank)
    from carls.cli.demo.comparison.command import compare
    from carls.cli.demo.graphs.paradigm import Digits
    from carls.cli.demo.graphs.plan import plan_of

    chosen = CHOSEN["digits"]
    if neighbours == "learned":
        chosen = replace(chosen, with_graph=replace(chosen.with_graph, learned_share=LEARNED_SHARE))
    Console().print(_lines())
    config = {"labels": labels, "neighbours": neighbours}
    title = f"Digits, {labels} labels, neighbours by {neighbours}"
    compare(Digits(labels), plan_of(chosen, seeds, steps, quick), title, config, json, plot, bank)


def cora(
    split: Annotated[
        str, typer.Option(help="Which papers have labels: nsl (2155), planetoid (140).")
    ] = "nsl",
    neighbours: Annotated[
        str | None, typer.Option(help="links, pagerank; what suits the split if not given.")
    ] = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    quick: Quick = False,
    json: Json = None,
    plot: Plot = Path("carls-cora.png"),
    bank: BankUrl = None,
) -> None:
    """Papers by their words and citations: the same code on a given graph."""
    require_extra()
    from carls.cli.demo.graphs.cora import NEIGHBOURS, SPLITS, load
    from carls.cli.demo.graphs.recipe import CHOSEN

    require(split in SPLITS, "split", split, " or ".join(SPLITS))
    neighbours = SPLITS[split] if neighbours is None else neighbours
    require(neighbours in NEIGHBOURS, "neighbours", neighbours, " or ".join(NEIGHBOURS))
    check_count("steps", steps)
    check_options(seeds, json, plot)
    check_server(bank)
    load()  # what is not there is found out before anything is started
    from carls.cli.demo.comparison.command import compare
    from carls.cli.demo.graphs.paradigm import Cora
    from carls.cli.demo.graphs.plan import plan_of

    config = {"split": split, "neighbours": neighbours}
    title = f"Cora, {split} split, neighbours by {neighbours}"
    plan = plan_of(CHOSEN[f"cora, {split}"], seeds, steps, quick)
    compare(Cora(split, neighbours), plan, title, config, json, plot, bank)


def _lines() -> Syntax:
    """The program that the demo is a longer form of, as source text."""
    return Syntax(PROGRAM.read_text(), "python", background_color="default")
