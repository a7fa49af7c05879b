"""`python -m benchmarks.constants`: asynchronous Douglas-Rachford with other constants, on a clock of events.

Problems, nodes, delays and times are those of `benchmarks.asynchrony`. Each row differs from the defaults in
one constant; with few tasks every eta meets every stiffness too. "divergence off" never halves eta.
A run that takes more than 2.5 times as long as the slowest of the defaults' is given up: not in time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from joblib import Parallel, delayed
from rich.console import Console

from benchmarks import options
from benchmarks.asynchrony import LONGEST, METRICS, SLOW, Problem, Times, pace, school, simulated, synthetic
from benchmarks.comparison import SEPARATOR, tabulate, versions
from benchmarks.tables import use_threads
from carls.cli.results import Result, check_writable, write_json
from carls.specs import DouglasRachford

DEFAULTS = DouglasRachford()
#: Never halves eta.
OFF = 1e30
ETAS = (0.5, 1.0, 1.5, 1.7, 1.9)
STIFFNESSES = (0.3, 1.0, 3.0, 10.0, 30.0)
DIVERGENCES = (2.0, 4.0, 16.0, OFF)
#: Up to so many tasks all etas meet all stiffnesses; of more than so many only the neighbours are tried.
FEW, MANY = 5, 50
#: A run is given up after so many times the defaults' longest time.
PATIENCE = 2.5
USUAL = "defaults"
#: The ratios to the defaults over all problems.
OVERALL = "all problems"


def grid(tasks: int) -> list[DouglasRachford]:
    """The constants to try, the defaults first."""
    if tasks > MANY:
        return [
            DEFAULTS,
            *(replace(DEFAULTS, eta=eta) for eta in (1.0, 1.7, 1.9)),
            *(replace(DEFAULTS, stiffness=stiffness) for stiffness in (1.0, 10.0)),
            replace(DEFAULTS, divergence=OFF),
        ]
    found = [DEFAULTS]
    found += [replace(DEFAULTS, eta=eta) for eta in ETAS]
    found += [replace(DEFAULTS, stiffness=stiffness) for stiffness in STIFFNESSES]
    found += [replace(DEFAULTS, divergence=divergence) for divergence in DIVERGENCES]
    if tasks <= FEW:
        found += [replace(DEFAULTS, eta=eta, stiffness=own) for eta, own in product(ETAS, STIFFNESSES)]
        found += [replace(DEFAULTS, eta=max(ETAS), divergence=divergence) for divergence in DIVERGENCES]
    return list(dict.fromkeys(found))


def name(constants: DouglasRachford) -> str:
    """What is not a default."""
    parts = [
        f"{field} {'off' if getattr(constants, field) == OFF else f'{getattr(constants, field):g}'}"
        for field in ("eta", "stiffness", "divergence")
        if getattr(constants, field) != getattr(DEFAULTS, field)
    ]
    return ", ".join(parts) or USUAL


def measure(problem: Problem, slow: bool, seeds: int, jobs: int) -> dict[str, list[Times]]:
    """Times with all constants, for each seed."""
    first, *others = grid(problem.all.shape[1])
    usual = [_alone(problem, first, seed, slow, 1.0) for seed in range(seeds)]
    # As `simulated` counts how long it goes on.
    unit = PATIENCE * max(max(times) for times in usual) / (LONGEST * (SLOW if slow else 1))
    runs = list(product(others, range(seeds)))
    found = Parallel(n_jobs=jobs)(delayed(_alone)(problem, one, seed, slow, unit) for one, seed in runs)
    times = {name(first): usual, **{name(one): [] for one in others}}
    for (one, _), both in zip(runs, found, strict=True):
        times[name(one)].append(both)
    return times


def _alone(problem: Problem, constants: DouglasRachford, seed: int, slow: bool, unit: float) -> Times:
    use_threads(1)  # this may be a process of its own
    return simulated(problem, constants, pace(seed, slow), slow, unit)


def results(title: str, measured: dict[str, list[Times]]) -> Iterable[Result]:
    """Median times, and how many times the defaults' they are."""
    for index, metric in enumerate(METRICS):
        usual = float(np.median([times[index] for times in measured[USUAL]]))
        for constants, runs in measured.items():
            times = [both[index] for both in runs]
            median = float(np.median(times))
            if not np.isfinite(median):
                continue
            case = f"{title}{SEPARATOR}{constants}"
            spread = float(np.std(times, ddof=1)) if len(times) > 1 and np.isfinite(times).all() else None
            yield Result(case, metric, median, "units", spread, len(times))
            if constants != USUAL:
                against = f"{title}{SEPARATOR}{USUAL}"
                yield Result(case, metric, median, "units", None, len(times), against, median / usual)


def overall(measured: dict[str, dict[str, list[Times]]]) -> Iterable[Result]:
    """For each choice of constants the ratios to the defaults over all problems: mean and largest."""
    for constants in dict.fromkeys(one for times in measured.values() for one in times):
        there = [times for times in measured.values() if constants in times]
        for index, metric in enumerate(METRICS):
            medians = [
                [float(np.median([both[index] for both in times[one]])) for one in (constants, USUAL)]
                for times in there
            ]
            # What was not in time counts as if it just had been.
            ratios = np.minimum([own / usual for own, usual in medians], PATIENCE)
            case = f"{OVERALL}{SEPARATOR}{constants}"
            mean = float(np.exp(np.mean(np.log(ratios))))
            yield Result(case, f"{metric}, mean ratio", mean, "", None, len(ratios))
            yield Result(case, f"{metric}, largest ratio", float(ratios.max()), "", None, len(ratios))


def cells(found: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """A row for each choice of constants; of the times, how many times the defaults'."""
    rows: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for result in found:
        column = result.metric if result.ratio is None else f"{result.metric} / defaults"
        spread = "" if result.sd is None else f" ±{result.sd:.0f}"
        time = f"{result.value:.0f}{spread}" if result.unit else f"{result.value:.2f}"
        shown = time if result.ratio is None else f"{result.ratio:.2f}"
        rows.setdefault(result.case, {})[column] = shown
        columns += [column] * (column not in columns)
    filled = [[case, *(row.get(column, "") for column in columns)] for case, row in rows.items()]
    return ["case", *columns], filled


def main(
    tasks: Annotated[list[int] | None, typer.Option(min=2, help="Numbers of tasks; may repeat.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs with each choice of constants.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = os.cpu_count() or 1,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Time to a relative gap of 1e-4 with other constants than the defaults."""
    use_threads(1)
    if json is not None:
        check_writable(json)
    counts = tasks or ([3] if quick else [5, 50, 139])
    seeds, jobs = (1, 1) if quick else (seeds, jobs)
    makers: list[Callable[[int], Problem]] = [synthetic]
    folder = os.environ.get("CARLS_DATA", "")
    if folder and not quick:
        makers.append(lambda count: school(Path(folder), count))
    console = Console(width=140)
    measured: dict[str, dict[str, list[Times]]] = {}
    for make, count in product(makers, counts):
        problem = make(count)
        for slow in (False, True):
            title = f"{problem.title}, {'one slow node' if slow else 'equal nodes'}"
            measured[title] = measure(problem, slow, seeds, jobs)
            console.print(tabulate("constants", *cells(list(results(title, measured[title])))))
    total = list(overall(measured))
    console.print(tabulate("constants", *cells(total)))
    if json is not None:
        config = {"tasks": counts, "seeds": seeds, "threads": 1, "versions": versions("numpy")}
        every = [result for title, times in measured.items() for result in results(title, times)]
        write_json(json, "constants", config, [*total, *every])
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
