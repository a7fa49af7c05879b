"""The report of the noisy-labels demo: figures and a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.table import Table

from carls.cli.demo.noisy.experiment import NoisyOutcome
from carls.cli.demo.noisy.plan import CASES, DRIFTS, EVERY_STEP, drift_case
from carls.cli.demo.noisy.trainer import NoisyRun
from carls.cli.results import Result

_METHODS = {
    "carls": "carls",
    "baseline": "cross entropy",
    "synchronous": "synchronous",
}

Figure = tuple[str, str, Callable[[NoisyRun], float]]


def to_results(outcome: NoisyOutcome) -> list[Result]:
    """The figures of all cases, the headline first; each is a mean over the seeds."""
    results = [
        _result(outcome, case, figure, "baseline")
        for case in CASES
        for figure in _figures(outcome.runs[case], outcome.plan.goal)
    ]
    if EVERY_STEP in outcome.runs:
        race = [_SPEED, _time_to(outcome.plan.goal)]
        race = _reached(race, outcome.runs[EVERY_STEP])
        results += [_result(outcome, EVERY_STEP, figure, "carls") for figure in race]
    for drift in DRIFTS:
        if drift_case(drift) in outcome.runs:
            runs = outcome.runs[drift_case(drift)]
            results += [
                _result(outcome, drift_case(drift), figure, drift_case(0)) for figure in _figures(runs, None)
            ]
    return results


def to_tables(outcome: NoisyOutcome) -> list[Table]:
    """The outcome as tables: accuracy, time to the goal, drift limits."""
    tables = [_accuracy_table(outcome)]
    if outcome.plan.goal is not None:
        tables.append(_race_table(outcome, outcome.plan.goal))
    if outcome.plan.sweep_seeds:
        tables.append(_sweep_table(outcome))
    return tables


def _accuracy_table(outcome: NoisyOutcome) -> Table:
    seeds = outcome.plan.seeds
    table = _table(
        f"{outcome.plan.noise} noise, {100 * np.mean(outcome.wrong):.0f} % of the labels wrong:\n"
        f"test accuracy after the last step, {seeds} seed{'s' if seeds > 1 else ''}",
        ("accuracy", "sd", "best on\nthe way", "steps/s", "staleness\nmedian (95 %)"),
    )
    for case in CASES:
        runs = outcome.runs[case]
        accuracy = [run.accuracy for run in runs]
        table.add_row(
            _METHODS[case],
            f"{np.mean(accuracy):.1f} %",
            "-" if len(runs) == 1 else f"{np.std(accuracy, ddof=1):.1f}",
            f"{np.mean([run.best_accuracy for run in runs]):.1f} %",
            f"{np.mean([run.steps_per_s for run in runs]):.0f}",
            _staleness(runs),
        )
    return table


def _race_table(outcome: NoisyOutcome, goal: float) -> Table:
    table = _table(f"Seconds of training until {goal} % on the test data", ("mean", "steps/s", "seeds"))
    for case in ("carls", "synchronous", EVERY_STEP):
        runs = outcome.runs[case]
        seconds = np.mean([run.seconds_to(goal) for run in runs])
        table.add_row(
            case,
            f"{seconds:.2f} s" if np.isfinite(seconds) else "not reached",
            f"{np.mean([run.steps_per_s for run in runs]):.0f}",
            str(len(runs)),
        )
    return table


def _sweep_table(outcome: NoisyOutcome) -> Table:
    headings = ("accuracy", "steps/s", "staleness\nmedian (95 %)", "waited")
    table = _table("Drift limits, in checkpoints", headings)
    for drift in DRIFTS:
        runs = outcome.runs[drift_case(drift)]
        table.add_row(
            "unbounded" if drift is None else str(drift),
            f"{np.mean([run.accuracy for run in runs]):.1f} %",
            f"{np.mean([run.steps_per_s for run in runs]):.0f}",
            _staleness(runs),
            f"{np.mean([run.waited_s for run in runs]):.1f} s",
        )
    return table


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _staleness(runs: list[NoisyRun]) -> str:
    staleness = np.concatenate([run.staleness for run in runs])
    if len(staleness) == 0:
        return "-"
    return f"{np.median(staleness):.0f} ({np.percentile(staleness, 95):.0f})"


_SPEED: Figure = ("steps", "1/s", lambda run: run.steps_per_s)


def _time_to(goal: float | None) -> Figure:
    assert goal is not None
    return (f"time to {goal} %", "s", lambda run: run.seconds_to(goal))


def _figures(runs: list[NoisyRun], goal: float | None) -> list[Figure]:
    """What is told of runs; only those that read a table know about staleness."""
    figures: list[Figure] = [
        ("accuracy", "%", lambda run: run.accuracy),
        ("accuracy, best on the way", "%", lambda run: run.best_accuracy),
        _SPEED,
    ]
    if all(len(run.staleness) for run in runs):
        figures += [
            ("staleness, median", "steps", lambda run: float(np.median(run.staleness))),
            ("staleness, 95 %", "steps", lambda run: float(np.percentile(run.staleness, 95))),
            ("examples unknown", "%", lambda run: 100 * run.unknown),
            ("waited for the maker", "s", lambda run: run.waited_s),
        ]
    if goal is not None:
        figures.append(_time_to(goal))
    return _reached(figures, runs)


def _reached(figures: list[Figure], runs: list[NoisyRun]) -> list[Figure]:
    """Without the time to a goal that some run never reached: it has no mean, and JSON no infinity."""
    return [figure for figure in figures if all(np.isfinite(figure[2](run)) for run in runs)]


def _result(outcome: NoisyOutcome, case: str, figure: Figure, against: str) -> Result:
    metric, unit, of = figure
    values = [of(run) for run in outcome.runs[case]]
    compared = [of(run) for run in outcome.runs[against]] if case != against else []
    comparable = bool(compared) and np.all(np.isfinite(compared)) and np.mean(compared) != 0
    return Result(
        case=case,
        metric=metric,
        value=float(np.mean(values)),
        unit=unit,
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        n=len(values),
        against=against if comparable else None,
        ratio=float(np.mean(values) / np.mean(compared)) if comparable else None,
    )
