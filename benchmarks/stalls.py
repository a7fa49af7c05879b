"""How long an operation can be held up by others: in process, a table that grows past its doublings.

One thread makes a table grow. Others look rows of that table up, push, assign, erase, scan and
describe, and make, fill and drop another table, each several of these in turn; with `--threads 6`
each has one. All note how long their calls take. Two controls spin on the clock and note the
longest gap between two readings: a thread of the same process, which waits for a core and for
Python's lock as all do, but for nothing of the bank; and a process of its own, which waits for a
core alone. What a call takes beyond the thread's longest gap is the bank's doing, and so is what
the thread's gap is beyond the process's: a call that kept Python's lock. The more threads share the
cores, the longer a thread that holds a stripe may have to wait for a core while others wait for the
stripe.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import carls
from benchmarks.comparison import tabulate
from carls.cli.results import Result, check_writable, write_json

#: What no operation may be held up for beyond the control's longest gap, in ms.
GOAL_MS = 20.0
#: What stands for all operations of the bank together, and the two controls.
ANY, THREAD, PROCESS = "any operation", "control thread", "control process"
#: Calls that each thread makes even if growth is done before, so that every kind has its turns.
_LEAST_CALLS = 75
#: Keys of the rows that are erased and made anew start here, far from all others.
_ERASED = 1 << 40


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        rows: of the table at first.
        grown: of the table at the end.
        other: rows of the table that is made and dropped.
        dim: elements of a row.
        batch: keys of a call.
        runs: the worst of which counts.
        threads: that share the work beside growth, 1 to 6.
    """

    rows: int
    grown: int
    other: int
    dim: int
    batch: int
    runs: int
    threads: int = 2


FULL = Plan(rows=8_000_000, grown=12_000_000, other=1_000_000, dim=16, batch=1024, runs=3)
QUICK = Plan(rows=20_000, grown=60_000, other=5_000, dim=16, batch=256, runs=1, threads=6)


class Load:
    """The threads' work. Each kind of work has handles of its own.

    Args:
        bank: in this process.
        plan: of the run.
    """

    def __init__(self, bank: carls.Bank, plan: Plan) -> None:
        self._bank, self._plan = bank, plan
        self._rng = np.random.default_rng(0)
        self._gradients = self._rng.standard_normal((plan.batch, plan.dim)).astype(np.float32)

    def open(self, name: str) -> carls.EmbeddingTable:
        """A handle to a table of the bank."""
        return self._bank.embeddings(name, dim=self._plan.dim, optimizer=carls.Adagrad(lr=0.01))

    def fill(self) -> None:
        """Make the first rows."""
        with self.open("rows") as table:
            for start in range(0, self._plan.rows, 8192):
                table.lookup(np.arange(start, min(start + 8192, self._plan.rows)))

    def grow(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Look-ups that create rows, until the table has grown. Calls by the name of their kind."""
        table, step = self.open("rows"), self._plan.batch
        for start in range(self._plan.rows, self._plan.grown, step):
            keys = np.arange(start, start + step)
            yield "create", partial(table.lookup, keys)

    def others(self) -> list[Iterator[tuple[str, Callable[[], Any]]]]:
        """Work without an end, for each of the threads."""
        rows, assigned, pushed = self.open("rows"), self.open("rows"), self.open("rows")
        works = [
            self._repeat("look up", lambda keys: rows.lookup(keys)),
            self._repeat("push", lambda keys: pushed.push_gradients(keys, self._gradients)),
            self._repeat("assign", lambda keys: assigned.assign(keys, self._gradients)),
            self._erase(),
            self._scan(),
            self._drop(),
        ]
        threads = self._plan.threads
        return [_in_turn(works[thread::threads]) for thread in range(threads)]

    def _repeat(self, kind: str, call: Callable[[Any], Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
        batches = [self._rng.integers(0, self._plan.rows, self._plan.batch) for _ in range(200)]
        while True:
            for keys in batches:
                yield kind, partial(call, keys)

    def _erase(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        table, keys = self.open("rows"), np.arange(_ERASED, _ERASED + self._plan.batch)
        while True:
            yield "create", lambda: table.lookup(keys)
            yield "erase", lambda: table.erase(keys)

    def _scan(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        table = self.open("rows")
        while True:
            pages = table.scan()
            for _ in range(50):
                yield "page of a scan", partial(next, pages, None)
            yield "describe", table.describe

    def _drop(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        while True:
            opened: list[carls.EmbeddingTable] = []
            yield "make another table", partial(self._open_other, opened)
            for start in range(0, self._plan.other, self._plan.batch):
                keys = np.arange(start, start + self._plan.batch)
                yield "create in another table", partial(opened[0].lookup, keys)
            yield "drop another table", lambda: self._bank.drop("other")

    def _open_other(self, opened: list[carls.EmbeddingTable]) -> None:
        opened.append(self.open("other"))


def _in_turn(works: list[Iterator[tuple[str, Callable[[], Any]]]]) -> Iterator[tuple[str, Callable[[], Any]]]:
    for work in itertools.cycle(works):
        yield next(work)


def run(plan: Plan) -> list[Result]:
    """Figures of one run: for each kind of operation, the longest call and by how much it was longer
    than the control's gap; of all kinds together first."""
    with carls.connect() as bank:
        load = Load(bank, plan)
        load.fill()
        growth, others = load.grow(), load.others()
        stop = threading.Event()
        with control_process() as gap_of_process, ThreadPoolExecutor(len(others) + 1) as threads:
            gap_of_thread = threads.submit(longest_gap, stop.is_set)
            noted = [threads.submit(note, work, stop.is_set) for work in others]
            try:
                timed = note(growth, lambda: False)
            finally:
                stop.set()
            for one in noted:
                for kind, seconds in one.result().items():
                    timed.setdefault(kind, []).extend(seconds)
            thread, process = gap_of_thread.result() * 1e3, gap_of_process() * 1e3
    results = []
    for kind, seconds in timed.items():
        calls = np.array(seconds) * 1e3
        results += _figures(kind, float(calls.max()), len(calls), THREAD, thread)
        results.append(Result(kind, "median call", float(np.median(calls)), "ms", None, len(calls)))
    worst = max((result for result in results if result.metric == "longest call"), key=lambda r: r.value)
    calls_in_all = sum(len(seconds) for seconds in timed.values())
    headline = _figures(ANY, worst.value, calls_in_all, THREAD, thread)
    controls = [
        *_figures(THREAD, thread, 1, PROCESS, process),
        Result(PROCESS, "longest gap", process, "ms"),
    ]
    return headline + controls + results


def _figures(case: str, worst: float, n: int, control: str, gap: float) -> list[Result]:
    metric = "longest gap" if case == THREAD else "longest call"
    beyond = Result(case, "beyond the control", worst - gap, "ms", None, n)
    return [beyond, Result(case, metric, worst, "ms", None, n, control, worst / gap)]


def worst_of(runs: list[list[Result]]) -> list[Result]:
    """Of each figure, the largest of all runs; medians among them too."""
    worst: dict[tuple[str, str], Result] = {}
    for result in (result for results in runs for result in results):
        key = (result.case, result.metric)
        known = worst.get(key, result)
        calls = result.n if known is result else known.n + result.n
        worst[key] = replace(max(known, result, key=lambda r: r.value), n=calls)
    return list(worst.values())


def longest_gap(stopped: Callable[[], bool]) -> float:
    """Seconds of the longest gap between two readings of the clock, until `stopped`. Lets other
    threads of Python go first at every turn."""
    longest, last = 0.0, time.perf_counter()
    while not stopped():
        time.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


@contextmanager
def control_process() -> Iterator[Callable[[], float]]:
    """A process that spins; call what this gives for its longest gap, once, which ends it."""
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    process = context.Process(target=_spin, args=(other,), daemon=True)
    process.start()
    try:
        mine.recv()

        def end() -> float:
            mine.send(None)
            return float(mine.recv())

        yield end
    finally:
        mine.close()
        process.join(10)
        process.kill()


def _spin(pipe: Connection) -> None:
    pipe.send(None)
    try:
        pipe.send(longest_gap(pipe.poll))
    except OSError:
        return  # the parent has gone


def note(
    work: Iterator[tuple[str, Callable[[], Any]]], stopped: Callable[[], bool]
) -> dict[str, list[float]]:
    """Seconds of each call of the work, by kind, until `stopped` or the work's end."""
    seconds: dict[str, list[float]] = {}
    for number, (kind, call) in enumerate(work):
        if number >= _LEAST_CALLS and stopped():
            break
        start = time.perf_counter()
        call()
        seconds.setdefault(kind, []).append(time.perf_counter() - start)
    return seconds


def cells(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each kind of operation and each control."""
    rows = []
    for case in dict.fromkeys(result.case for result in results):
        mine = {result.metric: result for result in results if result.case == case}
        longest = mine.get("longest call") or mine["longest gap"]
        beyond, median = mine.get("beyond the control"), mine.get("median call")
        calls = f"{longest.n:,}" if case not in (THREAD, PROCESS) else ""
        others = [
            "" if median is None else f"{median.value:.2f}",
            f"{longest.value:.1f}",
            "" if beyond is None else f"{beyond.value:.1f}",
        ]
        rows.append([case, calls, *others])
    return ["operation", "calls", "median ms", "longest ms", "beyond the control ms"], rows


def main(
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of the table at first.")] = None,
    grown: Annotated[int | None, typer.Option(min=1, help="Rows of the table at the end.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Runs, the worst of which counts.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=6, help="Threads beside the one that grows the table.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny tables: shows that it runs.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="File to write the results to.")] = None,
) -> None:
    """Note the longest call of each kind while a table grows."""
    plan = QUICK if quick else FULL
    plan = replace(
        plan,
        rows=rows or plan.rows,
        grown=grown or max(plan.grown, rows or 0),
        runs=runs or plan.runs,
        threads=threads or plan.threads,
    )
    if json is not None:
        check_writable(json)
    console = Console()
    done = []
    for number in range(1, plan.runs + 1):
        with console.status(f"stalls: run {number} of {plan.runs}"):
            done.append(run(plan))
    results = worst_of(done)
    title = f"longest calls of {plan.batch} rows x {plan.dim}, {plan.rows:,} to {plan.grown:,} rows"
    console.print(tabulate(f"{title}; worst of {plan.runs} runs, goal {GOAL_MS:g} ms", *cells(results)))
    if json is not None:
        write_json(json, "stalls", {**vars(plan), "goal_ms": GOAL_MS}, results)
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
