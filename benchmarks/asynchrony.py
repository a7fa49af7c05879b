"""`python -m benchmarks.asynchrony`: what asynchrony gains in multi-task learning, on a clock of events.

Nodes, matrix and algorithms are the package's own; only time is simulated. The work of an answer takes
1 unit, and the network's delay between a pull and the arrival of its push is exponential with mean 1.
In "one slow node" both take the first node ten times as long. Times are those until the objective of
the models, which anybody may read from the bank, is within 1e-4 of the optimum, and until the duality
gap certifies that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks import options
from benchmarks.comparison import SEPARATOR, tabulate, versions
from benchmarks.rounds import rounds_of_fista, rounds_of_proximal_gradient
from benchmarks.tables import use_threads
from carls.bank.task_matrix import TaskMatrix
from carls.cli.results import Result, check_writable, write_json
from carls.mtl.coupled import Tasks, together
from carls.mtl.simulation import Simulation
from carls.mtl.solver import solve
from carls.mtl.task import Task
from carls.mtl.tasks import make_task
from carls.specs import Algorithm, DouglasRachford, ForwardBackward, Nuclear

TOLERANCE = 1e-4
SLOW = 10
#: Simulated units after which a run is given up, and rounds of the synchronous gradient methods.
LONGEST = 2500.0
MOST_ROUNDS = 20_000
METRICS = ("objective", "certificate")
OURS = "asynchronous Douglas-Rachford"

#: Until the objective is near the optimum, and until that is certified; infinity: not in time.
Times = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Problem:
    """Tasks with their optimum under the nuclear norm."""

    title: str
    tasks: Sequence[Task]
    rho: float
    all: Tasks
    optimum: float

    @staticmethod
    def of(title: str, tasks: Sequence[Task], rho: float) -> Problem:
        """Solve it first."""
        coupled = together(tasks)
        exact = solve(coupled, Nuclear(), rho, DouglasRachford(), tolerance=1e-9, max_rounds=20_000)
        return Problem(title, tasks, rho, coupled, exact.gap.objective)

    def near(self, models: Any) -> bool:
        """Whether the objective of the models is near the optimum."""
        objective = float(self.all.evaluate(models)[1][:, 0].sum()) + self.rho * Nuclear().value(models)
        return objective - self.optimum <= TOLERANCE * self.optimum


def synthetic(count: int, seed: int = 0) -> Problem:
    """As in the paper: 100 samples of 50 normal features for each task; models of rank 3, noise 1."""
    random = np.random.default_rng(seed)
    models = random.standard_normal((50, 3)) @ random.standard_normal((3, count)) / np.sqrt(3)
    features = [random.standard_normal((100, 50)) for _ in range(count)]
    tasks = [
        make_task(part, part @ model + random.standard_normal(100))
        for part, model in zip(features, models.T, strict=True)
    ]
    return Problem.of(f"synthetic, {count} tasks", tasks, 5.0 * (np.sqrt(50) + np.sqrt(count)))


def school(folder: Path, count: int = 139) -> Problem:
    """The first schools of the School data, raw features, rho 100."""
    data = np.load(folder / "school" / "school.npz")
    rows = [data["task"] == task for task in range(count)]
    tasks = [make_task(data["x"][row], data["y"][row]) for row in rows]
    return Problem.of(f"School, {count} tasks", tasks, 100.0)


def pace(seed: int, slow: bool) -> Callable[[str], float]:
    """Draws the time from a pull to the arrival of its push."""
    random = np.random.default_rng(seed)
    return lambda task: (1 + random.exponential()) * (SLOW if slow and task == "0" else 1)


def simulated(
    problem: Problem, algorithm: Algorithm, draw: Callable[[str], float], slow: bool, unit: float = 1.0
) -> Times:
    """The times of one run; `unit` is about what a push of most nodes takes."""
    nodes = {str(index): task for index, task in enumerate(problem.tasks)}
    dim, count = problem.all.shape
    run = Simulation(nodes, lambda clock: TaskMatrix(dim, Nuclear(), problem.rho, algorithm, clock), draw)
    near = certified = np.inf
    # Asynchronous runs are looked at four times for each push that a node makes.
    every = count if algorithm.synchronous else max(1, count // 4)
    for pushes, now in enumerate(run.pushes(), 1):
        if now > LONGEST * unit * (SLOW if slow else 1) or np.isfinite([near, certified]).all():
            break
        if pushes % every:
            continue
        if np.isinf(near) and problem.near(run.matrix.models().values):
            near = now
        gap = run.matrix.gap() if np.isinf(certified) else None
        if gap is not None and gap.relative <= TOLERANCE:
            certified = now
    return near, certified


def in_rounds(needed: tuple[float, float], count: int, draw: Callable[[str], float]) -> Times:
    """The times of a synchronous method that needs so many rounds: all wait for the last node."""
    most = int(max((rounds for rounds in needed if np.isfinite(rounds)), default=0))
    ends = np.cumsum([max(draw(str(task)) for task in range(count)) for _ in range(most)])
    near, certified = (float(ends[int(rounds) - 1]) if np.isfinite(rounds) else np.inf for rounds in needed)
    return near, certified


def compare(problem: Problem, slow: bool, seeds: int, paper: bool) -> list[Result]:
    """All algorithms on a problem."""
    count = problem.all.shape[1]
    cases: dict[str, list[Times]] = {}
    for name, algorithm, runs in (
        (OURS, DouglasRachford(), seeds),
        ("synchronous Douglas-Rachford", DouglasRachford(synchronous=True), seeds),
        ("the paper's, constant steps", ForwardBackward(), paper),
        ("the paper's, adaptive steps", ForwardBackward(adaptive=True), paper),
    ):
        if runs:
            cases[name] = [simulated(problem, algorithm, pace(seed, slow), slow) for seed in range(int(runs))]
    for name, method in (
        ("synchronous proximal gradient", rounds_of_proximal_gradient),
        ("synchronous FISTA", rounds_of_fista),
    ):
        needed = method(problem.all, problem.rho, problem.near, TOLERANCE, MOST_ROUNDS)
        cases[name] = [in_rounds(needed, count, pace(seed, slow)) for seed in range(seeds)]
    title = f"{problem.title}, {'one slow node' if slow else 'equal nodes'}"
    return list(results(title, cases))


def results(title: str, cases: dict[str, list[Times]]) -> Iterable[Result]:
    """Medians, and ratios to ours; no figure where a run was given up."""
    for index, metric in enumerate(METRICS):
        medians = {name: float(np.median([times[index] for times in runs])) for name, runs in cases.items()}
        for name, value in medians.items():
            if np.isinf(value):
                continue
            case, runs = f"{title}{SEPARATOR}{name}", cases[name]
            spread = float(np.std([times[index] for times in runs]))
            shown = spread if len(runs) > 1 and np.isfinite(spread) else None
            yield Result(case, metric, value, "units", shown, len(runs))
            if name != OURS and np.isfinite(medians[OURS]):
                ours = f"{title}{SEPARATOR}{OURS}"
                yield Result(case, metric, value, "units", None, len(runs), ours, value / medians[OURS])


def cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """A row for each case: its times, and how many times ours they are."""
    rows: dict[str, dict[str, str]] = {}
    for result in results:
        row = rows.setdefault(result.case, {})
        if result.ratio is None:
            spread = "" if result.sd is None else f" ±{result.sd:.0f}"
            row[result.metric] = f"{result.value:.0f}{spread}"
        else:
            row[f"{result.metric} / ours"] = f"{result.ratio:.2f}"
    columns = [column for metric in METRICS for column in (metric, f"{metric} / ours")]
    return ["case", *columns], [
        [case, *(row.get(column, "" if OURS in case else "not in time") for column in columns)]
        for case, row in rows.items()
    ]


def main(
    tasks: Annotated[list[int] | None, typer.Option(min=2, help="Numbers of tasks; may repeat.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each case.")] = 5,
    paper: Annotated[bool, typer.Option(help="Run the paper's algorithm too, once; it takes long.")] = True,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Time to a relative gap of 1e-4: asynchronous against synchronous, ours against others."""
    use_threads(1)
    if json is not None:
        check_writable(json)
    counts = tasks or ([3] if quick else [5, 15, 50, 139])
    seeds = 1 if quick else seeds
    problems: list[Callable[[], Problem]] = [lambda count=count: synthetic(count) for count in counts]  # type: ignore[misc]
    folder = os.environ.get("CARLS_DATA", "")
    if folder and not quick:
        problems += [lambda count=count: school(Path(folder), count) for count in counts]  # type: ignore[misc]
    config = {"tasks": counts, "seeds": seeds, "threads": 1, "versions": versions("numpy")}
    console, found = Console(width=140), []
    for make in problems:
        problem = make()
        for slow in (False, True):
            # The paper's needs many thousands of pushes.
            part = compare(problem, slow, seeds, paper and not slow and problem.title.startswith("synth"))
            console.print(tabulate("asynchrony", *cells(part)))
            found += part
    if json is not None:
        write_json(json, "asynchrony", config, found)
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
