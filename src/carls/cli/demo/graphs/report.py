"""The report of a demo: figures and a table."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from carls.cli.demo.graphs.experiment import CASES, Outcome
from carls.cli.demo.graphs.trainer import Run
from carls.cli.results import Result

_METHODS = {
    "carls": "carls",
    "baseline": "baseline (no bank)",
    "synchronous": "synchronous (no maker)",
}


def to_results(outcome: Outcome) -> list[Result]:
    """The figures of all cases, the headline first; each is a mean over the seeds."""
    return [
        _result(outcome, case, metric, unit, values)
        for case in CASES
        for metric, unit, values in _figures(outcome.runs[case])
    ]


def to_table(name: str, outcome: Outcome) -> Table:
    """The outcome as a table: method, accuracy, step time, staleness."""
    seeds = len(outcome.runs["carls"])
    title = f"{name}: test accuracy after the last step, {seeds} seed{'s' if seeds > 1 else ''}"
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    for heading in ("accuracy", "sd", "step", "staleness, steps\nmedian (95 %)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for case in CASES:
        runs = outcome.runs[case]
        accuracy = [run.accuracy for run in runs]
        staleness = np.concatenate([run.staleness for run in runs])
        table.add_row(
            _METHODS[case],
            f"{np.mean(accuracy):.1f} %",
            "-" if len(runs) == 1 else f"{np.std(accuracy, ddof=1):.1f}",
            f"{np.mean([run.step_ms for run in runs]):.2f} ms",
            f"{np.median(staleness):.0f} ({np.percentile(staleness, 95):.0f})" if len(staleness) else "-",
        )
    return table


def _result(outcome: Outcome, case: str, metric: str, unit: str, values: list[float]) -> Result:
    compared = {m: v for m, _, v in _figures(outcome.runs["baseline"])} if case != "baseline" else {}
    return Result.of_seeds(case, metric, unit, values, "baseline", compared.get(metric))


def _figures(runs: list[Run]) -> list[tuple[str, str, list[float]]]:
    """(metric, unit, a value for each seed); only runs with a bank know about staleness."""
    figures = [
        ("accuracy", "%", [run.accuracy for run in runs]),
        ("step time", "ms", [run.step_ms for run in runs]),
    ]
    if all(len(run.staleness) for run in runs):
        figures += [
            ("staleness, median", "steps", [float(np.median(run.staleness)) for run in runs]),
            ("staleness, 95 %", "steps", [float(np.percentile(run.staleness, 95)) for run in runs]),
            ("neighbours left out", "%", [100 * run.masked for run in runs]),
            ("waited for the maker", "s", [run.waited_s for run in runs]),
        ]
    return figures
