"""The command `carls demo noisy-labels`."""

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
    from carls.cli.demo.comparison.command import compare
    from carls.cli.demo.noisy.paradigm import NoisyLabels
    from carls.cli.demo.noisy.plan import plan_of

    paradigm = NoisyLabels(data, noise)
    wrong = sum(paradigm.problem(seed).wrong for seed in range(seeds)) / seeds
    title = f"Fashion-MNIST, {noise} noise, {100 * wrong:.0f} % of the labels wrong"
    plan = plan_of(noise, seeds, epochs, quick)
    compare(paradigm, plan, title, {"noise": noise}, json, plot, bank)
