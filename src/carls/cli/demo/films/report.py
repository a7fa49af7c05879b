"""The report of the demo: figures and a table."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from carls.cli.demo.films.experiment import CASES, Outcome
from carls.cli.demo.films.trial import Trial
from carls.cli.results import Result

_METHODS = {
    "carls": "carls (bank, sampled softmax)",
    "baseline": "baseline (the most popular)",
    "synchronous": "synchronous (no bank, full softmax)",
}


def to_results(outcome: Outcome) -> list[Result]:
    """The figures of all cases, the headline first; each is a mean over the seeds."""
    return [
        _result(outcome, case, metric, unit, values)
        for case in CASES
        for metric, unit, values in _figures(outcome.trials[case])
    ]


def to_table(outcome: Outcome, title: str) -> Table:
    """The outcome as a table: method, hit rate, gain, step time."""
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    for heading in ("HR@10", "sd", "NDCG@10", "step"):
        table.add_column(heading, justify="right", no_wrap=True)
    for case in CASES:
        trials = outcome.trials[case]
        rates = [trial.hit_rate for trial in trials]
        learns = len(trials[0].curve) > 1
        table.add_row(
            _METHODS[case],
            f"{np.mean(rates):.1f} %",
            "-" if len(trials) == 1 else f"{np.std(rates, ddof=1):.1f}",
            f"{np.mean([trial.gain for trial in trials]):.1f} %",
            f"{np.mean([trial.step_ms for trial in trials]):.1f} ms" if learns else "-",
        )
    return table


def _result(outcome: Outcome, case: str, metric: str, unit: str, values: list[float]) -> Result:
    compared = {m: v for m, _, v in _figures(outcome.trials["baseline"])} if case != "baseline" else {}
    return Result.of_seeds(case, metric, unit, values, "baseline", compared.get(metric))


def _figures(trials: list[Trial]) -> list[tuple[str, str, list[float]]]:
    """(metric, unit, a value for each seed)."""
    figures = [
        ("HR@10", "%", [trial.hit_rate for trial in trials]),
        ("NDCG@10", "%", [trial.gain for trial in trials]),
    ]
    if len(trials[0].curve) > 1:
        figures.append(("step time", "ms", [trial.step_ms for trial in trials]))
    return figures
