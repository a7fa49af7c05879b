"""The plot of a comparison: score over steps and seconds, and by drift limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from carls.cli.demo.comparison.experiment import Outcome
from carls.cli.demo.comparison.plan import CASES, DRIFTS, EVERY_STEP, R, drift_case

_COLOURS = {"carls": "#0b6e99", "baseline": "#b5651d", "synchronous": "#8a8a8a", EVERY_STEP: "#5b8c5a"}
_STYLES = {"carls": "-", "baseline": "-", "synchronous": "--", EVERY_STEP: ":"}


def write_plot(path: Path, outcome: Outcome[R], title: str, score: str) -> None:
    """Draw the outcome: PNG, or another format by the path's suffix.

    Args:
        title: of the figure.
        score: what is measured in percent, such as "accuracy".
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    swept = outcome.plan.sweep_seeds > 0
    figure, axes = pyplot.subplots(
        1, 3 if swept else 2, figsize=(15 if swept else 11, 4.2), layout="constrained"
    )
    seeds = outcome.plan.seeds
    figure.suptitle(f"{title}: mean and range of {seeds} seeds" if seeds > 1 else f"{title}: 1 seed")
    _draw_steps(axes[0], outcome, score)
    _draw_seconds(axes[1], outcome, score)
    if swept:
        _draw_sweep(axes[2], outcome, score)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _draw_steps(axis: Any, outcome: Outcome[R], score: str) -> None:
    lowest = 100.0
    for case in CASES:
        curves = [run.curve for run in outcome.runs[case]]
        steps, scores = curves[0][:, 0], np.stack([curve[:, 2] for curve in curves])
        mean = scores.mean(axis=0)
        label = f"{case}: {mean[-1]:.1f} % in the end"
        axis.plot(steps, mean, _STYLES[case], color=_COLOURS[case], label=label)
        if case != "synchronous":
            low, high = scores.min(axis=0), scores.max(axis=0)
            axis.fill_between(steps, low, high, color=_COLOURS[case], alpha=0.15, linewidth=0)
        lowest = min(lowest, float(np.median(mean)))
    bottom, top = axis.get_ylim()
    # The first tests are of hardly trained models: what is worth seeing lies above.
    axis.set_ylim(bottom=max(bottom, lowest - 2 * (top - lowest)))
    axis.set(xlabel="training step", ylabel=f"test {score}, %")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def _draw_seconds(axis: Any, outcome: Outcome[R], score: str) -> None:
    raced = outcome.plan.goal is not None and EVERY_STEP in outcome.runs
    lowest = 100.0
    for case in ("carls", "synchronous", EVERY_STEP):
        if case in outcome.runs:
            curve = np.mean([run.curve for run in outcome.runs[case]], axis=0)
            axis.plot(curve[:, 1], curve[:, 2], _STYLES[case], color=_COLOURS[case], label=case)
            lowest = min(lowest, float(np.median(curve[:, 2])))
    if raced:
        goal = outcome.plan.goal
        axis.axhline(goal, color="black", linewidth=0.8, label=f"{goal} %")
        axis.set_xscale("log")
        axis.set_xlim(left=axis.get_xlim()[0] / 6)  # room for the legend
        axis.set_ylim(bottom=lowest - 5)
    axis.set(xlabel="seconds of training", ylabel=f"test {score}, %")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left" if raced else "lower right")


def _draw_sweep(axis: Any, outcome: Outcome[R], score: str) -> None:
    """The score on the left scale, steps a second on the right one."""
    places = np.arange(len(DRIFTS))
    runs = [outcome.runs[drift_case(drift)] for drift in DRIFTS]
    scores = np.array([[run.score for run in some] for some in runs])
    speed = np.array([[run.steps_per_s for run in some] for some in runs])
    axis.plot(places, scores.mean(axis=1), "-o", color=_COLOURS["carls"])
    axis.fill_between(
        places, scores.min(axis=1), scores.max(axis=1), color=_COLOURS["carls"], alpha=0.15, linewidth=0
    )
    middle = float(scores.mean())
    span = max(2.0, float(np.abs(scores - middle).max()) * 1.5)
    axis.set(xlabel="drift limit, checkpoints", ylim=(middle - span, middle + span))
    axis.set_ylabel(f"test {score} in the end, %", color=_COLOURS["carls"])
    axis.set_xticks(places, ["unbounded" if drift is None else str(drift) for drift in DRIFTS])
    axis.grid(alpha=0.3)
    right = axis.twinx()
    right.plot(places, speed.mean(axis=1), "--s", color="black", linewidth=1, markersize=4)
    right.set_ylabel("steps a second (dashed)")
    right.set_ylim(0, 1.2 * float(speed.max()))
