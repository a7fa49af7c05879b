"""The plot of the demo: the hit rate over the epochs, and over the length of the list."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from carls.cli.demo.films.experiment import CASES, Outcome
from carls.cli.demo.films.trial import LENGTH, hit_rate

_COLOURS = {"carls": "#0b6e99", "baseline": "#b5651d", "synchronous": "#8a8a8a"}
_STYLES = {"carls": "-", "baseline": "-", "synchronous": "--"}
_LENGTHS = np.arange(1, 51)


def write_plot(path: Path, outcome: Outcome, title: str) -> None:
    """Draw the outcome: PNG, or another format by the path's suffix."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    figure.suptitle(title)
    for case in CASES:
        trials = outcome.trials[case]
        look = {"color": _COLOURS[case], "linestyle": _STYLES[case], "linewidth": 1.8}
        rates = np.stack([trial.curve[:, 1] for trial in trials])
        label = f"{case}: {rates[:, -1].mean():.1f} %"
        if rates.shape[1] == 1:
            left.axhline(rates.mean(), label=label, **look)
        else:
            epochs = trials[0].curve[:, 0]
            left.plot(epochs, rates.mean(axis=0), marker="o", markersize=4, label=label, **look)
            left.fill_between(
                epochs, rates.min(axis=0), rates.max(axis=0), color=_COLOURS[case], alpha=0.15, linewidth=0
            )
        lists = [[hit_rate(trial.ranks, int(length)) for length in _LENGTHS] for trial in trials]
        right.plot(_LENGTHS, np.mean(lists, axis=0), label=case, **look)
    left.set(xlabel="epoch", ylabel=f"HR@{LENGTH}, %", ylim=(0, None))
    right.axvline(LENGTH, color="black", linewidth=1, linestyle=":", label=f"a list of {LENGTH}")
    right.set(xlabel="length of the list, films", ylabel="hit rate after the last epoch, %", ylim=(0, None))
    left.xaxis.get_major_locator().set_params(integer=True)
    left.legend(loc="lower right")
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
