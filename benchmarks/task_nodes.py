"""`python -m benchmarks.task_nodes`: time that real task nodes take, with a delay before each push.

Nodes in threads of this process work through a bank server in another one. Each waits before each push, as on
a slow network: for an exponential time of the given mean, or ten times that for the first one in "one slow
node". Times are those from the start of the nodes until the objective of the models, which anybody may
read from the bank, is within 1e-4 of the optimum, and until the duality gap certifies that.

Synchronous proximal gradient needs so many rounds, a number that no delay changes, that only its first
ones are run; its time is the mean time of these times the number that it needs, which is counted before.
"simulated" is the same ratio in `carls.mtl.Simulation`, with the same delays and calls that take no time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import carls
from benchmarks import options
from benchmarks.asynchrony import (
    MOST_ROUNDS,
    OURS,
    SLOW,
    TOLERANCE,
    Problem,
    Times,
    in_rounds,
    school,
    simulated,
    synthetic,
)
from benchmarks.comparison import SEPARATOR, tabulate, versions
from benchmarks.rounds import rounds_of_proximal_gradient
from benchmarks.tables import use_threads
from carls.cli.results import Result, check_writable, write_json
from carls.mtl import TaskNodes
from carls.service import BankProcess
from carls.specs import Algorithm, DouglasRachford, ForwardBackward, Nuclear

SYNCHRONOUS = "synchronous Douglas-Rachford"
GRADIENT = "synchronous proximal gradient"
METRICS = ("objective", "certificate")
#: A run is given up after so many seconds; rounds of proximal gradient that are run; pause between two looks.
LONGEST_S, ROUNDS, LOOK_S = 120.0, 20, 0.005


@dataclass(frozen=True)
class Delays:
    """Seconds before a push: exponential with this mean; the first node's are ten times as long if `slow`."""

    mean_s: float
    slow: bool

    def draw(self, seed: int) -> Callable[[str], float]:
        """Draws them, by task. For several threads."""
        random, lock = np.random.default_rng(seed), threading.Lock()

        def draw(task: str) -> float:
            with lock:
                return random.exponential(self.mean_s) * (SLOW if self.slow and task == "0" else 1)

        return draw


def nodes_of(problem: Problem, table: carls.TaskTable, draw: Callable[[str], float]) -> TaskNodes:
    """A node for each task, each with a thread of its own."""
    tasks = {str(index): task for index, task in enumerate(problem.tasks)}
    return TaskNodes(None, table, tasks, threads=len(tasks), delay=draw)


def real(bank: carls.Bank, problem: Problem, algorithm: Algorithm, delays: Delays, seed: int) -> Times:
    """The times of one run, in seconds."""
    near = certified = np.inf
    with bank.tasks("tasks", problem.all.shape[0], Nuclear(), problem.rho, algorithm) as table:
        began = time.monotonic()
        with nodes_of(problem, table, delays.draw(seed)) as nodes:
            while not np.isfinite([near, certified]).all() and time.monotonic() < began + LONGEST_S:
                nodes.wait(LOOK_S)
                models, now = table.models(), time.monotonic() - began
                if len(models) < len(problem.tasks):
                    continue
                if np.isinf(near) and problem.near(in_order(models)):
                    near = now
                gap = table.gap() if np.isinf(certified) else None
                if gap is not None and gap.relative <= TOLERANCE:
                    certified = time.monotonic() - began
    bank.drop("tasks")
    return near, certified


def in_order(models: carls.TaskModels) -> Any:
    """(dim, tasks), the tasks in the order of their numbers: they join in any order."""
    return np.stack([models.of(str(index)) for index in range(len(models))], axis=1)


def round_s(bank: carls.Bank, problem: Problem, delays: Delays, seed: int) -> float:
    """Mean seconds of a round of synchronous proximal gradient."""
    algorithm = ForwardBackward(synchronous=True)
    with bank.tasks("tasks", problem.all.shape[0], Nuclear(), problem.rho, algorithm) as table:
        with nodes_of(problem, table, delays.draw(seed)) as nodes:
            while len(rounds := table.history) < ROUNDS + 1:
                nodes.wait(LOOK_S)
    bank.drop("tasks")
    return (rounds[ROUNDS].at - rounds[0].at) / ROUNDS


def compare(bank: carls.Bank, problem: Problem, delays: Delays, seeds: int) -> Iterator[Result]:
    """All algorithms on a problem, really and simulated."""
    # These are first, so that the streams are open when the others begin.
    lengths = [round_s(bank, problem, delays, seed) for seed in range(seeds)]
    ran: dict[str, list[Times]] = {}
    shown: dict[str, list[Times]] = {}
    for name, algorithm in ((OURS, DouglasRachford()), (SYNCHRONOUS, DouglasRachford(synchronous=True))):
        ran[name] = [real(bank, problem, algorithm, delays, seed) for seed in range(seeds)]
        shown[name] = [
            simulated(problem, algorithm, delays.draw(seed), delays.slow, delays.mean_s)
            for seed in range(seeds)
        ]
    needed = rounds_of_proximal_gradient(problem.all, problem.rho, problem.near, TOLERANCE, MOST_ROUNDS)
    ran[GRADIENT] = [(needed[0] * length, needed[1] * length) for length in lengths]
    shown[GRADIENT] = [in_rounds(needed, len(problem.tasks), delays.draw(seed)) for seed in range(seeds)]
    title = f"{problem.title}, {'one slow node' if delays.slow else 'equal nodes'}"
    yield from figures(title, ran, "")
    yield from figures(title, shown, ", simulated")


def figures(title: str, cases: dict[str, list[Times]], how: str) -> Iterator[Result]:
    """Medians with their spread, and ratios to ours; none where half of the runs were not in time."""
    ours = f"{title}{SEPARATOR}{OURS}"
    for index, metric in enumerate(METRICS):
        medians = {name: float(np.median([times[index] for times in runs])) for name, runs in cases.items()}
        for name, median in medians.items():
            if not np.isfinite(median):
                continue
            case, values = f"{title}{SEPARATOR}{name}", np.array([times[index] for times in cases[name]])
            spread = float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else None
            yield Result(case, metric + how, median, "s", spread, len(values))
            if name != OURS and np.isfinite(medians[OURS]):
                ratio = median / medians[OURS]
                yield Result(case, metric + how, median, "s", None, len(values), ours, ratio)


def cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """A row for each case: its seconds, and how many times ours they are, really and simulated."""
    rows: dict[str, dict[str, str]] = {}
    for result in results:
        row = rows.setdefault(result.case, {})
        if result.ratio is not None:
            row[f"{result.metric} / ours"] = f"{result.ratio:.2f}"
        else:
            row[f"{result.metric}, s"] = f"{result.value:.2f}" + (
                "" if result.sd is None else f" ±{result.sd:.2f}"
            )
    columns = [
        column
        for metric in METRICS
        for column in (f"{metric}, s", f"{metric} / ours", f"{metric}, simulated / ours")
    ]
    return ["case", *columns], [
        [case, *(row.get(column, "") for column in columns)] for case, row in rows.items()
    ]


def main(
    tasks: Annotated[list[int] | None, typer.Option(min=2, help="Numbers of tasks; may repeat.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each case.")] = 9,
    mean_ms: Annotated[float, typer.Option(min=1, help="Mean delay before a push, in milliseconds.")] = 40.0,
    schools: Annotated[
        bool, typer.Option(help="With the first schools of School, if CARLS_DATA is set.")
    ] = True,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Time to a relative gap of 1e-4 by real nodes with delays: asynchronous against synchronous."""
    use_threads(1)
    if json is not None:
        check_writable(json)
    counts = tasks or ([3] if quick else [5, 10, 15])
    seeds, mean_ms = (1, 5.0) if quick else (seeds, mean_ms)
    problems: list[Callable[[], Problem]] = [lambda count=count: synthetic(count) for count in counts]  # type: ignore[misc]
    folder = os.environ.get("CARLS_DATA", "")
    if folder and schools and not quick:
        problems += [lambda count=count: school(Path(folder), count) for count in counts]  # type: ignore[misc]
    config = {
        "tasks": counts,
        "seeds": seeds,
        "mean_ms": mean_ms,
        "threads": 1,
        "versions": versions("numpy"),
    }
    console, found = Console(width=160), []
    with ExitStack() as opened:
        server = opened.enter_context(BankProcess())
        bank = opened.enter_context(carls.connect(server.url))
        for make in problems:
            problem = make()
            for slow in (False, True):
                part = list(compare(bank, problem, Delays(mean_ms / 1000, slow), seeds))
                console.print(tabulate("task_nodes", *cells(part)))
                found += part
    if json is not None:
        write_json(json, "task_nodes", config, found)
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
