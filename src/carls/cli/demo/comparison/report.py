"""The report of a comparison: its figures, as results and as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from rich.table import Table

from carls.cli.demo.comparison.experiment import Outcome
from carls.cli.demo.comparison.plan import CASES, DRIFTS, EVERY_STEP, R, drift_case
from carls.cli.demo.comparison.run import Run
from carls.cli.results import Result

#: Metric, unit, and its value of a run.
Figure = tuple[str, str, Callable[[Run], float]]

_SPEED: Figure = ("steps", "1/s", lambda run: run.steps_per_s)


def to_results(outcome: Outcome[R], score: str) -> list[Result]:
    """The figures of all cases, the headline first; each is a mean over the seeds.

    Args:
        score: what is measured in percent, such as "accuracy".
    """
    results = [
        _result(case, outcome.runs[case], figure, "baseline", outcome.runs["baseline"])
        for case in CASES
        for figure in _figures(outcome.runs[case], score)
    ]
    if outcome.plan.every_step is not None and outcome.plan.goal is not None:
        race = _race(outcome)
        for figure in (_SPEED, _time_to(outcome.plan.goal)):
            results += [
                _result(case, runs, figure, "carls", race["carls"])
                for case, runs in race.items()
                if (case == EVERY_STEP or figure is not _SPEED) and _reached(figure, runs)
            ]
    if outcome.plan.sweep_seeds:
        synchronous = outcome.runs[drift_case(0)]
        for case in map(drift_case, DRIFTS):
            results += [
                _result(case, outcome.runs[case], figure, drift_case(0), synchronous)
                for figure in _figures(outcome.runs[case], score)
            ]
    return results


def to_tables(outcome: Outcome[R], title: str, score: str, baseline: str) -> list[Table]:
    """The outcome as tables: score, time to the goal, drift limits.

    Args:
        title: of the first table.
        score: what is measured in percent, such as "accuracy".
        baseline: what the case without a bank does, in a few words.
    """
    tables = [_score_table(outcome, title, score, baseline)]
    if outcome.runs["carls"][0].others:
        tables.append(_others_table(outcome, baseline))
    if outcome.plan.every_step is not None and outcome.plan.goal is not None:
        tables.append(_race_table(outcome, outcome.plan.goal))
    if outcome.plan.sweep_seeds:
        tables.append(_sweep_table(outcome, score))
    return tables


def _score_table(outcome: Outcome[R], title: str, score: str, baseline: str) -> Table:
    seeds = outcome.plan.seeds
    table = _table(
        f"{title}:\ntest {score} after the last step, {seeds} seed{'s' if seeds > 1 else ''}",
        (score, "sd", "best on\nthe way", "steps/s", "staleness\nmedian (95 %)"),
    )
    methods = {"baseline": baseline}
    for case in CASES:
        runs = outcome.runs[case]
        scores = [run.score for run in runs]
        table.add_row(
            methods.get(case, case),
            f"{np.mean(scores):.1f} %",
            _deviation(scores),
            f"{np.mean([run.best_score for run in runs]):.1f} %",
            f"{np.mean([run.steps_per_s for run in runs]):.0f}",
            _staleness(runs),
        )
    return table


def _others_table(outcome: Outcome[R], baseline: str) -> Table:
    names = list(outcome.runs["carls"][0].others)
    table = _table("After the last step, too", [heading for name in names for heading in (name, "sd")])
    methods = {"baseline": baseline}
    for case in CASES:
        values = [[run.others[name] for run in outcome.runs[case]] for name in names]
        table.add_row(
            methods.get(case, case),
            *(cell for of_seeds in values for cell in (f"{np.mean(of_seeds):.1f} %", _deviation(of_seeds))),
        )
    return table


def _race_table(outcome: Outcome[R], goal: float) -> Table:
    table = _table(f"Seconds of training until {goal} %", ("time", "steps/s"))
    for case, runs in _race(outcome).items():
        seconds = np.mean([run.seconds_to(goal) for run in runs])
        table.add_row(
            case,
            f"{seconds:.2f} s" if np.isfinite(seconds) else "not reached",
            f"{np.mean([run.steps_per_s for run in runs]):.0f}",
        )
    return table


def _sweep_table(outcome: Outcome[R], score: str) -> Table:
    headings = (score, "steps/s", "staleness\nmedian (95 %)", "waited")
    table = _table("Drift limits, in checkpoints", headings)
    for drift in DRIFTS:
        runs = outcome.runs[drift_case(drift)]
        table.add_row(
            "unbounded" if drift is None else str(drift),
            f"{np.mean([run.score for run in runs]):.1f} %",
            f"{np.mean([run.steps_per_s for run in runs]):.0f}",
            _staleness(runs),
            f"{np.mean([run.waited_s for run in runs]):.1f} s",
        )
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _deviation(values: list[float]) -> str:
    return "-" if len(values) == 1 else f"{np.std(values, ddof=1):.1f}"


def _staleness(runs: list[Run]) -> str:
    staleness = np.concatenate([run.staleness for run in runs])
    if len(staleness) == 0:
        return "-"
    return f"{np.median(staleness):.0f} ({np.percentile(staleness, 95):.0f})"


def _time_to(goal: float) -> Figure:
    return (f"time to {goal} %", "s", lambda run: run.seconds_to(goal))


def _race(outcome: Outcome[R]) -> dict[str, list[Run]]:
    """The runs that are compared by time to the goal: of all ways the same seeds."""
    seeds = outcome.plan.race_seeds
    return {case: outcome.runs[case][:seeds] for case in ("carls", "synchronous", EVERY_STEP)}


def _figures(runs: list[Run], score: str) -> list[Figure]:
    """What is told of runs; only those that read a table know about staleness."""
    figures: list[Figure] = [
        (score, "%", lambda run: run.score),
        (f"{score}, best on the way", "%", lambda run: run.best_score),
        *((name, "%", partial(_other, name)) for name in runs[0].others),
        _SPEED,
    ]
    if all(len(run.staleness) for run in runs):
        figures += [
            ("staleness, median", "steps", lambda run: _percentile(run, 50)),
            ("staleness, 95 %", "steps", lambda run: _percentile(run, 95)),
            ("rows left out", "%", lambda run: 100 * run.left_out),
            ("waited for the maker", "s", lambda run: run.waited_s),
        ]
    return figures


def _other(name: str, run: Run) -> float:
    return run.others[name]


def _percentile(run: Run, percent: float) -> float:
    """Of the staleness of a run; not a number for one that read no rows."""
    return float(np.percentile(run.staleness, percent)) if len(run.staleness) else float("nan")


def _reached(figure: Figure, runs: list[Run]) -> bool:
    """Whether all runs have the figure: JSON has no infinity for a goal that was never reached."""
    return bool(np.isfinite([figure[2](run) for run in runs]).all())


def _result(case: str, runs: list[Run], figure: Figure, against: str, others: list[Run]) -> Result:
    metric, unit, of = figure
    values, compared = [of(run) for run in runs], [of(run) for run in others]
    comparable = case != against and bool(np.isfinite(compared).all()) and np.mean(compared) != 0
    return Result.of_seeds(case, metric, unit, values, against, compared if comparable else None)
