"""The report of the demo: figures and tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.table import Table

from carls.cli.demo.school.experiment import Outcome
from carls.cli.demo.school.race import CARLS, SYNCHRONOUS, Race
from carls.cli.results import Result

BASELINE, POOLED = "baseline", "pooled"
EXPLAINED = "explained variance"
_METHODS = {
    CARLS: "carls (task nodes, bank)",
    BASELINE: "baseline (each school alone)",
    SYNCHRONOUS: "synchronous (all data in one place)",
    POOLED: "pooled (one model for all)",
}


def explained(outcome: Outcome) -> dict[str, list[float]]:
    """Case -> explained variance of held-out pupils, 0 to 1, for each split."""
    return {
        CARLS: [trial.held.explained(trial.races[CARLS].models) for trial in outcome.trials],
        BASELINE: [trial.held.explained(trial.alone.models) for trial in outcome.trials],
        SYNCHRONOUS: [trial.held.explained(trial.together[0].models) for trial in outcome.trials],
        POOLED: [trial.held.explained(trial.pooled.models) for trial in outcome.trials],
    }


def to_results(outcome: Outcome) -> list[Result]:
    """The figures of all cases, the headline first; each is a mean over the splits."""
    shares = explained(outcome)
    results = [
        Result.of_seeds(case, EXPLAINED, "", values, BASELINE, None if case == BASELINE else shares[BASELINE])
        for case, values in shares.items()
    ]
    for name in sorted({fit.name for fit in outcome.trials[0].together}):
        fits = [next(fit for fit in trial.together if fit.name == name) for trial in outcome.trials]
        pairs = list(zip(outcome.trials, fits, strict=True))
        case = f"in one place, {name}"
        results += [
            Result.of_seeds(case, EXPLAINED, "", [trial.held.explained(fit.models) for trial, fit in pairs]),
            Result.of_seeds(case, "error on held-out folds", "", [fit.error for fit in fits]),
        ]
    for case in outcome.trials[0].races:
        results += _race_results(outcome, case)
    return results


def to_tables(outcome: Outcome, title: str) -> list[Table]:
    """How much is explained, and how soon the models are there."""
    return [_explained_table(outcome, title), _race_table(outcome)]


def _explained_table(outcome: Outcome, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    for heading in ("explained", "sd", "regularizer, rho"):
        table.add_column(heading, justify="right", no_wrap=True)
    trials = outcome.trials
    chosen = {
        CARLS: [trial.together[0] for trial in trials],
        BASELINE: [trial.alone for trial in trials],
        SYNCHRONOUS: [trial.together[0] for trial in trials],
        POOLED: [trial.pooled for trial in trials],
    }
    for case, values in explained(outcome).items():
        rhos: dict[str, set[float]] = {}
        for fit in chosen[case]:
            rhos.setdefault(fit.name, set()).add(fit.rho)
        settings = [f"{name} {', '.join(f'{rho:g}' for rho in sorted(rhos[name]))}" for name in rhos]
        table.add_row(
            _METHODS[case],
            f"{100 * np.mean(values):.1f} %",
            "-" if len(values) == 1 else f"{100 * np.std(values, ddof=1):.1f}",
            "; ".join(settings),
        )
    return table


def _race_table(outcome: Outcome) -> Table:
    recipe, trial = outcome.recipe, outcome.trials[0]
    table = Table(
        title=f"to {recipe.goal:g} of the optimum, network {recipe.delay_s:g} s in the mean, first split",
        title_justify="left",
    )
    table.add_column("way", no_wrap=True)
    for heading in ("objective", "certified", "pushes", "distance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for case, race in trial.races.items():
        table.add_row(
            case,
            _seconds(race.near_s, race),
            _seconds(race.certified_s, race),
            f"{race.last.updates:,}",
            f"{race.last.distance:.1e}",
        )
    return table


def _seconds(found: float | None, race: Race) -> str:
    return f"not in {race.last.seconds:.0f} s" if found is None else f"{found:.1f} s"


def _race_results(outcome: Outcome, case: str) -> list[Result]:
    trials = [trial for trial in outcome.trials if case in trial.races]
    races = [trial.races[case] for trial in trials]
    ours = [trial.races[CARLS] for trial in trials]
    results = []
    for metric, of in (("time to the objective", _near), ("time to the certificate", _certified)):
        found, others = _all(map(of, races)), None if case == CARLS else _all(map(of, ours))
        if found is not None and (case == CARLS or others is not None):  # without a figure: not in time
            results.append(Result.of_seeds(case, metric, "s", found, CARLS, others))
    looks = [race.last for race in races]
    results += [
        Result.of_seeds(case, "distance in the end", "", [look.distance for look in looks]),
        Result.of_seeds(case, "time of the run", "s", [look.seconds for look in looks]),
        Result.of_seeds(case, "pushes", "", [float(look.updates) for look in looks]),
        Result.of_seeds(case, "rate of pushes", "1/s", [look.updates / look.seconds for look in looks]),
        Result.of_seeds(case, "mean delay", "s", [race.delay_s for race in races]),
    ]
    return results


def _near(race: Race) -> float | None:
    return race.near_s


def _certified(race: Race) -> float | None:
    return race.certified_s


def _all(values: Iterable[float | None]) -> list[float] | None:
    found = list(values)
    return [value for value in found if value is not None] if None not in found else None
