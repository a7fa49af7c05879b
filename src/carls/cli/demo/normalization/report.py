"""The report of `carls demo dynamic-normalization`: figures, tables and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from rich.table import Table

from carls.cli.demo.normalization.experiment import Run
from carls.cli.results import Result

Runs = Mapping[str, list[Run]]

#: What the figures of the other cases are compared with.
BASELINE = "batch norm"
_COLOURS = ("#0b6e99", "#5aa9c9", "#b5651d", "#8a8a8a")


def to_results(runs: Runs) -> list[Result]:
    """The figures of all cases, means over the seeds."""
    baseline = _figures(runs[BASELINE])
    results = []
    for case, of in runs.items():
        for (metric, unit), values in _figures(of).items():
            compared = case != BASELINE and (metric, unit) in baseline
            results.append(
                Result(
                    case=case,
                    metric=metric,
                    value=float(np.mean(values)),
                    unit=unit,
                    sd=_deviation(values),
                    n=len(values),
                    against=BASELINE if compared else None,
                    ratio=float(np.mean(values) / np.mean(baseline[metric, unit])) if compared else None,
                )
            )
    return results


def to_tables(runs: Runs) -> list[Table]:
    """Accuracies, and how well each score tells foreign images from those of the test."""
    seeds = len(next(iter(runs.values())))
    accuracy = Table(
        title=f"Fashion-MNIST, {seeds} seed{'s' * (seeds > 1)}, batches of 16", title_justify="left"
    )
    accuracy.add_column("normalisation")
    for heading in ("test accuracy", "sd", "step", "clusters"):
        accuracy.add_column(heading, justify="right")
    for case, of in runs.items():
        deviation = _deviation([run.accuracy for run in of])
        accuracy.add_row(
            case,
            f"{np.mean([run.accuracy for run in of]):.2f} %",
            "-" if deviation is None else f"{deviation:.2f}",
            f"{np.mean([run.step_ms for run in of]):.2f} ms",
            f"{np.mean([run.clusters for run in of]):.0f}" if of[0].clusters else "-",
        )
    foreign = Table(title="foreign images: AUROC, mean (sd)", title_justify="left")
    foreign.add_column("normalisation")
    foreign.add_column("score")
    for kind in _kinds(runs):
        foreign.add_column(kind, justify="right")
    for case, score, values in _scores(runs):
        foreign.add_row(case, score, *(_with_deviation(values[kind]) for kind in _kinds(runs)))
    return [accuracy, foreign]


def write_plot(path: Path, runs: Runs) -> None:
    """Draw accuracies and AUROCs: PNG, or another format by the path's suffix."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=(1, 1.7)
    )
    colours = dict(zip(runs, _COLOURS, strict=False))
    for place, (case, of) in enumerate(runs.items()):
        accuracy = [run.accuracy for run in of]
        left.bar(place, np.mean(accuracy), color=colours[case], width=0.65)
        left.plot([place] * len(of), accuracy, "o", color="black", markersize=3)
        left.text(place, np.mean(accuracy) + 0.8, f"{np.mean(accuracy):.1f}", ha="center", fontsize=9)
    lowest = min(run.accuracy for of in runs.values() for run in of)
    left.set(ylabel="test accuracy, %", ylim=(max(0, lowest - 10), 92))
    left.set_xticks(range(len(runs)), [case.replace(", ", ",\n") for case in runs], fontsize=8)
    left.grid(alpha=0.3, axis="y")

    scores, kinds = _scores(runs), _kinds(runs)
    width = 0.8 / len(scores)
    for place, (case, score, values) in enumerate(scores):
        heights = [float(np.mean(values[kind])) for kind in kinds]
        errors = [_deviation(values[kind]) or 0.0 for kind in kinds]
        right.bar(
            np.arange(len(kinds)) + (place - (len(scores) - 1) / 2) * width,
            heights,
            width * 0.92,
            yerr=errors,
            color=colours[case],
            hatch="" if score == "distance" else "///",
            edgecolor="white",
            error_kw={"elinewidth": 0.8},
            label=f"{case}: {score}",
        )
    right.axhline(0.5, color="black", linewidth=1, linestyle=":")
    right.set_xlim(-0.75, len(kinds) - 0.5)
    right.text(-0.73, 0.51, "chance", fontsize=8)
    right.set(ylabel="AUROC against test images", ylim=(0, 1.02))
    right.set_xticks(range(len(kinds)), kinds)
    right.grid(alpha=0.3, axis="y")
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    seeds = len(next(iter(runs.values())))
    figure.suptitle(f"Fashion-MNIST, batches of 16, {seeds} seed{'s' * (seeds > 1)}")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _figures(runs: list[Run]) -> dict[tuple[str, str], list[float]]:
    """(metric, unit) -> a value for each seed."""
    figures = {
        ("accuracy", "%"): [run.accuracy for run in runs],
        ("step time", "ms"): [run.step_ms for run in runs],
    }
    if runs[0].clusters:
        figures["clusters", "clusters"] = [float(run.clusters) for run in runs]
    for score, kinds in runs[0].auroc.items():
        for kind in kinds:
            figures[f"AUROC of {score}, {kind}", "1"] = [run.auroc[score][kind] for run in runs]
    return figures


def _scores(runs: Runs) -> list[tuple[str, str, dict[str, list[float]]]]:
    """(case, score, foreign images -> a value for each seed), distances first."""
    found = [
        (case, score, {kind: [run.auroc[score][kind] for run in of] for kind in _kinds(runs)})
        for case, of in runs.items()
        for score in of[0].auroc
    ]
    return [row for row in found if row[1] == "distance"] + [row for row in found if row[1] != "distance"]


def _kinds(runs: Runs) -> list[str]:
    return list(next(iter(runs.values()))[0].auroc["max softmax"])


def _deviation(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _with_deviation(values: list[float]) -> str:
    deviation = _deviation(values)
    return f"{np.mean(values):.2f}" + ("" if deviation is None else f" ({deviation:.2f})")
