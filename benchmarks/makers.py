"""`python -m benchmarks.makers`: how old the rows are that a trainer reads, with one maker and with two.

The bank is a process, and so is each maker. The trainer publishes a checkpoint at each of its steps, which
take 20 ms, and looks rows up at random; makers share the keys. Two kinds: a *waiting* one spends its time on
something elsewhere, such as a model on another machine; a *computing* one keeps a core busy here, so that two
of them, the bank and the trainer want more than two cores. Both take 1 ms for each key that they make.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import carls
from benchmarks import options
from benchmarks.comparison import SEPARATOR, tabulate, versions
from carls.cli.results import Result, check_writable, write_json
from carls.makers import KnowledgeMaker, MakerProcess, Write
from carls.service import BankProcess

DIM = 16
#: Seconds of a step of the trainer, and of a maker's work on a key.
STEP_S, KEY_S = 0.02, 0.001
BATCH, LOOKED_UP = 64, 256
KINDS = ("waiting", "computing")
#: Metrics and their units, by what look-ups say of rows.
METRICS = {"age": ("age of rows", "s"), "steps": ("steps behind", "steps")}


class Worker(KnowledgeMaker):
    """Makes rows of ones, as slowly as it is told.

    Args:
        kind: one of `KINDS`.
    """

    tables = ("rows",)

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def make(self, model: carls.Model, keys: carls.Keys) -> Sequence[Write]:
        """Take the time for n keys, then write them."""
        seconds = len(keys) * KEY_S
        if self._kind == "waiting":
            threading.Event().wait(seconds)
        else:
            until = time.thread_time() + seconds
            while time.thread_time() < until:
                np.sin(np.arange(2000.0))
        return [Write("rows", keys, np.full((len(keys), DIM), model.step, np.float32))]


@dataclass(frozen=True)
class Course:
    """What is run.

    Attributes:
        keys: that the makers make.
        seconds: of each case in a round, after all rows were made once and the shares divided.
        rounds: in which all cases have a turn each.
        makers: numbers of makers, those of the cases; the others are compared with the first.
        kinds: of makers, some of `KINDS`.
    """

    keys: int
    seconds: float
    rounds: int
    makers: tuple[int, ...]
    kinds: tuple[str, ...]

    def cases(self) -> Iterator[tuple[str, int]]:
        """Kind and number of makers of each case."""
        return ((kind, count) for kind in self.kinds for count in self.makers)


def measure(kind: str, count: int, course: Course) -> dict[str, float]:
    """Medians over all rows that the trainer read."""
    keys = np.arange(course.keys)
    ages: list[Any] = []
    behind: list[Any] = []
    with ExitStack() as stack:
        server = stack.enter_context(BankProcess())
        bank = stack.enter_context(carls.connect(server.url))
        table = bank.embeddings("rows", dim=DIM, keys="int64")
        makers = [
            stack.enter_context(
                MakerProcess(
                    server.url,
                    Worker(kind),
                    model="m",
                    keys=keys,
                    batch_size=BATCH,
                    share="work",
                    lease_s=2.0,
                )
            )
            for _ in range(count)
        ]
        rng, step, began = np.random.default_rng(0), 0, None
        while began is None or time.monotonic() < began + course.seconds:
            due = time.monotonic() + STEP_S
            bank.models.publish("m", {"w": np.zeros(8, np.float32)}, step=step)
            if began is None and table.knowledge().step >= 0 and _even(makers, course.keys):
                began = time.monotonic()
            if began is not None:
                rows = table.lookup(rng.integers(0, course.keys, LOOKED_UP), create=False)
                ages.append(rows.age)
                behind.append(step - rows.step)
            step += 1
            time.sleep(max(due - time.monotonic(), 0.0))
    return {"age": float(np.median(np.concatenate(ages))), "steps": float(np.median(np.concatenate(behind)))}


def _even(makers: Sequence[MakerProcess], keys: int) -> bool:
    shares = [maker.progress.shares for maker in makers]
    return sum(shares) == min(64, keys) and max(shares) - min(shares) <= 1


def name(kind: str, count: int) -> str:
    """Of a case."""
    return f"{kind}{SEPARATOR}{count} maker{'s' * (count > 1)}"


def results(figures: dict[tuple[str, int], list[dict[str, float]]], course: Course) -> list[Result]:
    """The mean of the rounds' medians, and what it is to that of the first number of makers."""
    found = []
    for (kind, count), rounds in figures.items():
        for key, (metric, unit) in METRICS.items():
            values = [one[key] for one in rounds]
            first = [one[key] for one in figures[kind, course.makers[0]]]
            found.append(Result.of_seeds(name(kind, count), metric, unit, values))
            if count != course.makers[0]:
                against = name(kind, course.makers[0])
                found.append(Result.of_seeds(name(kind, count), metric, unit, values, against, first))
    return found


def cells(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """A row for each case."""
    rows: dict[str, list[str]] = {}
    for result in results:
        row = rows.setdefault(result.case, [])
        if result.against is None:
            spread = "" if result.sd is None else f" ±{result.sd:.3f}"
            row.append(f"{result.value:.3f}{spread} {result.unit}")
        else:
            row[-1] += f" ({result.ratio:.2f})"
    return ["makers", *(f"{metric}, median (ratio)" for metric, _ in METRICS.values())], [
        [case, *row] for case, row in rows.items()
    ]


def main(
    keys: Annotated[int, typer.Option(min=1, help="Keys that the makers make.")] = 1024,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each case in a round.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="In which all cases have a turn each.")] = 3,
    makers: Annotated[list[int] | None, typer.Option(min=1, help="Numbers of makers; may repeat.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help=f"{' or '.join(KINDS)}; may repeat.")] = None,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """How old the rows are that a trainer reads, with one maker and with several that share the keys."""
    if json is not None:
        check_writable(json)
    if not set(kind or ()) <= set(KINDS):
        raise typer.BadParameter(f"{', '.join(kind or ())}: expected some of {', '.join(KINDS)}")
    course = Course(keys, seconds, rounds, tuple(makers or (1, 2)), tuple(kind or KINDS))
    if quick:
        course = replace(course, keys=64, seconds=0.3, rounds=1)
    console = Console()
    figures: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in course.cases()}
    for _ in range(course.rounds):
        for case in course.cases():
            with console.status(name(*case)):
                figures[case].append(measure(*case, course))
    found = results(figures, course)
    console.print(tabulate("makers", *cells(found)))
    if json is not None:
        config = {**course.__dict__, "batch": BATCH, "threads": 1, "versions": versions("numpy", "pyarrow")}
        write_json(json, "makers", config, found)
        console.print(f"written to {json}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    typer.run(main)
