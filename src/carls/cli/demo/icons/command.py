"""The command `carls demo icons`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
)

_POSITIVES = ("bank", "fresh")


def icons(
    split: Annotated[
        str, typer.Option(help="How icons are divided: random, or family: similar names stay together.")
    ] = "random",
    positives: Annotated[
        str, typer.Option(help="Where positives come from: bank, or fresh, which shows the harm.")
    ] = "bank",
    seeds: Seeds = 3,
    epochs: Epochs = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and one epoch: shows that it runs.")
    ] = False,
    json: Json = None,
    plot: Plot = Path("carls-icons.png"),
    bank: BankUrl = None,
) -> None:
    """Words find icons: two towers learn against all icons, which a maker embeds beside them."""
    require_extra()
    from carls.cli.demo.icons.collection import SPLITS, load

    require(split in SPLITS, "split", split, " or ".join(SPLITS))
    require(positives in _POSITIVES, "positives", positives, " or ".join(_POSITIVES))
    check_count("epochs", epochs)
    check_options(seeds, json, plot)
    check_server(bank)
    collection = load(split)  # what is not there is found out before anything is started
    from carls.cli.demo.comparison.command import compare
    from carls.cli.demo.icons.paradigm import FindingIcons
    from carls.cli.demo.icons.plan import plan_of

    title = f"Icons, {split} split, {len(collection.test)} to find, positives from " + (
        "the bank" if positives == "bank" else "the batch"
    )
    plan = plan_of(split, seeds, epochs, quick, positives)
    config = {"split": split, "positives": positives}
    compare(FindingIcons(collection), plan, title, config, json, plot, bank)
