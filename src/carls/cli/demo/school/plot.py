"""The plot of the demo: the way to the optimum, how the schools are related, how much is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from carls.cli.demo.school.experiment import Outcome
from carls.cli.demo.school.race import CARLS, GRADIENT, SYNCHRONOUS
from carls.cli.demo.school.report import BASELINE, POOLED, explained

_COLOURS = {
    CARLS: "#0b6e99",
    BASELINE: "#b5651d",
    SYNCHRONOUS: "#8a8a8a",
    GRADIENT: "#5b8c5a",
    POOLED: "#c9a66b",
}
_WAYS = {
    CARLS: "carls: asynchronous",
    SYNCHRONOUS: "synchronous",
    GRADIENT: "synchronous, gradient steps",
}
_BARS = {
    BASELINE: "each school\nalone",
    POOLED: "one model\nfor all",
    SYNCHRONOUS: "all data in\none place",
    CARLS: "carls",
}


def write_plot(path: Path, outcome: Outcome) -> None:
    """Draw the outcome: PNG, or another format by the path's suffix."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(
        1, 3, figsize=(15, 4.6), layout="constrained", width_ratios=(1.15, 1, 0.85)
    )
    recipe = outcome.recipe
    figure.suptitle(
        f"School: the data of {recipe.schools} schools stay in {recipe.processes} processes, "
        f"the network takes {recipe.delay_s:g} s in the mean"
    )
    _draw_races(left, outcome)
    _draw_relations(figure, middle, outcome)
    _draw_explained(right, outcome)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_races(axis: Any, outcome: Outcome) -> None:
    """Distance and certified gap over seconds, first split."""
    goal = outcome.recipe.goal
    for case, race in outcome.trials[0].races.items():
        seconds, _, distance, gap = race.looks.T
        look = {"color": _COLOURS[case], "linewidth": 1.8}
        found = "not in time" if race.near_s is None else f"{race.near_s:.1f} s"
        axis.plot(seconds, np.maximum(distance, goal / 100), label=f"{_WAYS[case]}: {found}", **look)
        if race.near_s is not None:
            axis.plot(race.near_s, goal, "o", color=_COLOURS[case], markersize=6)
        if race.certified_s is not None:
            known = np.isfinite(gap)
            look = {"color": _COLOURS[case], "linewidth": 1.2, "linestyle": ":"}
            axis.plot(seconds[known], gap[known], **look)
    axis.plot([], [], color="black", linestyle=":", linewidth=1.2, label="the gap that the bank certifies")
    axis.axhline(goal, color="black", linewidth=0.8)
    axis.set(
        yscale="log",
        ylim=(goal / 5, 1000),  # room for the legend
        xlim=(0, None),
        xlabel="seconds",
        ylabel="objective above the optimum, relative",
        title="the way to the optimum, first split",
    )
    axis.set_yticks([10.0**power for power in range(int(np.floor(np.log10(goal))), 2)])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right")


def _draw_relations(figure: Any, axis: Any, outcome: Outcome) -> None:
    assert outcome.relations is not None
    correlation = outcome.relations.correlation
    image = axis.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set(
        xlabel="schools, those that are alike beside each other",
        xticks=[],
        yticks=[],
        title="correlation of the schools' models,\nwithout what is common to all",
    )
    figure.colorbar(image, ax=axis, shrink=0.85, ticks=[-1, 0, 1])


def _draw_explained(axis: Any, outcome: Outcome) -> None:
    shares = explained(outcome)
    means = {case: 100 * float(np.mean(shares[case])) for case in _BARS}
    for place, case in enumerate(_BARS):
        values = 100 * np.array(shares[case])
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        axis.bar(place, means[case], color=_COLOURS[case], width=0.65, alpha=0.85)
        axis.errorbar(place, means[case], spread, color="black", capsize=4, linewidth=1)
        axis.plot(np.full(len(values), place), values, "o", color="black", markersize=3, alpha=0.6)
        axis.annotate(
            f"{means[case]:.1f} %",
            (place, max(values.max(), means[case] + spread)),
            textcoords="offset points",
            xytext=(0, 5),
            ha="center",
        )
    everything = 100 * np.concatenate([shares[case] for case in _BARS])
    axis.set_ylim(max(0.0, everything.min() - 8), everything.max() + 3)
    axis.set_xticks(range(len(_BARS)), list(_BARS.values()))
    seeds = len(outcome.trials)
    axis.set(
        ylabel="explained variance, % (the axis begins above 0)",
        title=f"held-out pupils: mean, sd and {seeds} splits" if seeds > 1 else "held-out pupils, 1 split",
    )
    axis.grid(alpha=0.3, axis="y")
