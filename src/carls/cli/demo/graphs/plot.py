"""The plot of a demo: accuracy over steps, and how old the knowledge was."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from carls.cli.demo.graphs.experiment import Outcome

_COLOURS = {"carls": "#0b6e99", "baseline": "#b5651d", "synchronous": "#8a8a8a"}
_STYLES = {"carls": "-", "baseline": "-", "synchronous": "--"}


def write_plot(path: Path, name: str, outcome: Outcome) -> None:
    """Draw the outcome: PNG, or another format by the path's suffix."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    seeds = len(outcome.runs["carls"])
    figure.suptitle(f"{name}: mean and range of {seeds} seeds" if seeds > 1 else f"{name}: 1 seed")
    lowest = 100.0
    for case, runs in outcome.runs.items():
        steps = runs[0].curve[1:, 0]
        accuracy = np.stack([run.curve[1:, 1] for run in runs])
        mean = accuracy.mean(axis=0)
        label = f"{case}: {mean[-1]:.1f} %"
        left.plot(steps, mean, _STYLES[case], color=_COLOURS[case], label=label, linewidth=1.8)
        if case != "synchronous":
            low, high = accuracy.min(axis=0), accuracy.max(axis=0)
            left.fill_between(steps, low, high, color=_COLOURS[case], alpha=0.15, linewidth=0)
        lowest = min(lowest, float(np.median(mean)) - 15)
    left.set(xlabel="training step", ylabel="test accuracy, %", ylim=(max(lowest, 0), 100))
    left.grid(alpha=0.3)
    left.legend(loc="lower right")

    staleness = np.concatenate([run.staleness for run in outcome.runs["carls"]])
    bins = np.arange(staleness.min(initial=0), staleness.max(initial=1) + 2) - 0.5
    share = np.full(len(staleness), 100 / max(len(staleness), 1))
    right.hist(staleness, bins=bins, weights=share, color=_COLOURS["carls"])
    if len(staleness):
        median = float(np.median(staleness))
        right.axvline(median, color="black", linewidth=1, linestyle=":", label=f"median {median:.0f}")
        right.legend()
    right.set(xlabel="staleness: trainer step - row step", ylabel="share of neighbours read, %")
    right.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
