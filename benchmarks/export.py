"""How fast a table goes to a Parquet file and back, and how long others wait meanwhile: in process.

A table of a million rows is written to a file, with values alone and with the optimizer's state and
the metadata, and loaded into an empty table. Then it is written and loaded while threads look rows up
and push to it; each notes how long its calls take. As in `benchmarks.stalls`, a thread of the same
process and a process of its own spin on the clock as controls: what a call takes beyond the
thread's longest gap is the bank's doing. The file is read back with pandas and polars, where they
are there, and compared with what the table has. On fewer cores than threads, one that holds a stripe
may lose its core while others wait for the stripe; so the others' work is also timed beside plain
look-ups of all rows.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console

import carls
from benchmarks import options
from benchmarks.comparison import SEPARATOR, show, titled, versions
from benchmarks.stalls import GOAL_MS, PROCESS, THREAD, control_process, longest_gap, note
from carls.cli.results import Result, check_writable, write_json

LONGEST, BEYOND = "longest", "beyond the control"
#: Rounds of look-ups of all rows, which take about as long as writing the file does.
ROUNDS = 8
#: What reads the file back, where it is there.
PACKAGES = ("pandas", "polars")
#: What a case is compared with.
YARDSTICKS = {
    "to_parquet": ("pyarrow, rows in memory",),
    "load": ("load, rows in memory",),
    "look up": (THREAD,),
    "push": (THREAD,),
}
#: The table is filled, and rows are compared, so many at a time.
_CHUNK = 8192


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        rows: of the table.
        dim: elements of a row.
        batch: keys of a look-up or push.
        runs: of each case; times are medians, stalls the worst.
    """

    rows: int
    dim: int
    batch: int
    runs: int


FULL = Plan(rows=1_000_000, dim=64, batch=1024, runs=3)
QUICK = Plan(rows=20_000, dim=8, batch=256, runs=1)


class Tables:
    """A full table, and others' work on it, each in a handle of its own.

    Args:
        plan: of the run.
        bank: in this process.
    """

    def __init__(self, plan: Plan, bank: carls.Bank) -> None:
        self._plan, self._bank = plan, bank
        rng = np.random.default_rng(0)
        self._keys = [rng.integers(0, plan.rows, plan.batch) for _ in range(200)]
        self._gradients = rng.standard_normal((plan.batch, plan.dim)).astype(np.float32)

    def open(self, name: str = "rows") -> carls.EmbeddingTable:
        """A handle to a table of the bank."""
        return self._bank.embeddings(name, dim=self._plan.dim, keys="int64", optimizer=carls.Adagrad(lr=0.01))

    def fill(self) -> None:
        """Make the rows, and push to each once."""
        table = self.open()
        for start in range(0, self._plan.rows, _CHUNK):
            keys = np.arange(start, min(start + _CHUNK, self._plan.rows))
            table.lookup(keys)
            table.push_gradients(keys, np.ones((len(keys), self._plan.dim), np.float32), step=1)

    def others(self) -> list[Any]:
        """Look-ups and pushes without an end, for a thread each."""
        looked, pushed = self.open(), self.open()
        push = partial(pushed.push_gradients, grads=self._gradients)
        return [self._repeat("look up", looked.lookup), self._repeat("push", push)]

    def _repeat(self, kind: str, call: Callable[[Any], Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
        while True:
            for keys in self._keys:
                yield kind, partial(call, keys)


def beside(title: str, work: list[Any], call: Callable[[], Any], rows: int) -> list[Result]:
    """Figures of others' work beside `call`, and its own rate."""
    stop = threading.Event()
    with control_process() as gap_of_process, ThreadPoolExecutor(len(work) + 1) as threads:
        gap_of_thread = threads.submit(longest_gap, stop.is_set)
        notes = [threads.submit(note, one, stop.is_set) for one in work]
        try:
            speed = rate(call, rows)
        finally:
            stop.set()
        calls = {kind: np.array(s) * 1e3 for one in notes for kind, s in one.result().items()}
        thread, process = gap_of_thread.result() * 1e3, gap_of_process() * 1e3
    results = []
    for kind, ms in calls.items():
        longest = float(ms.max())
        results.append(Result(kind, LONGEST, longest, "ms", None, len(ms)))
        results.append(Result(kind, BEYOND, longest - thread, "ms", None, len(ms)))
    results.append(Result(THREAD, LONGEST, thread, "ms"))
    results.append(Result(PROCESS, LONGEST, process, "ms"))
    results.append(Result("the table", "rate", speed, "rows/s"))
    return titled(title, results)


def rate(call: Callable[[], Any], rows: int) -> float:
    """Rows a second."""
    start = time.perf_counter()
    call()
    return rows / (time.perf_counter() - start)


def run(plan: Plan, folder: Path) -> list[Result]:
    """Figures of one run."""
    files = {"values": folder / "values.parquet", "with state": folder / "full.parquet"}
    results: list[Result] = []
    with carls.connect() as bank:
        tables = Tables(plan, bank)
        tables.fill()
        table = tables.open()
        warm_up(bank, folder)
        for what, path in files.items():
            results += alone(tables, table, what, path)
        right = {name: same(name, files["values"], table) for name in PACKAGES if find_spec(name)}
        results += figures("rows read back", "as in the table", "rows", right)
        again = folder / "again.parquet"
        write = partial(table.to_parquet, again, state=True)
        results += beside("others while it is written", tables.others(), write, plan.rows)
        load = partial(table.load, again, state=True)
        results += beside("others while it is loaded", tables.others(), load, plan.rows)
        # What three threads hold each other up for where nothing is moved.
        read = partial(look_up_all, table, plan.rows)
        results += beside("others while its rows are looked up", tables.others(), read, ROUNDS * plan.rows)
    return results


def look_up_all(table: carls.EmbeddingTable, rows: int) -> None:
    """Look all rows up, in several rounds."""
    for start in [*range(0, rows, 4096)] * ROUNDS:
        table.lookup(np.arange(start, min(start + 4096, rows)), create=False)


def warm_up(bank: carls.Bank, folder: Path) -> None:
    """Have loaded what the first file needs."""
    with bank.embeddings("warm", dim=1) as table:
        table.lookup([1])
        table.to_parquet(folder / "warm.parquet")
        table.load(folder / "warm.parquet")


def alone(tables: Tables, table: carls.EmbeddingTable, what: str, path: Path) -> list[Result]:
    """Rates of writing the file and of loading it, while nobody else is at work."""
    state, n = what == "with state", len(table)
    written = {"to_parquet": rate(partial(table.to_parquet, path, state=state), n)}
    size = {"to_parquet": path.stat().st_size / 2**20}
    with tables.open("copy") as copy:
        loaded = {"load": rate(partial(copy.load, path, state=state), n)}
    table.bank.drop("copy")
    rows = table.to_arrow(state=state)
    path.unlink()
    written["pyarrow, rows in memory"] = rate(partial(write_whole, path, rows), n)
    with tables.open("copy") as copy:
        # As a stream, which is not looked at as a whole first.
        loaded["load, rows in memory"] = rate(partial(copy.load, rows.to_reader(), state=state), n)
    table.bank.drop("copy")
    return [
        *figures(f"write {what}", "rate", "rows/s", written),
        *figures(f"write {what}", "size", "MiB", size),
        *figures(f"load {what}", "rate", "rows/s", loaded),
    ]


def figures(title: str, metric: str, unit: str, values: dict[str, float]) -> list[Result]:
    """One figure of each case of a title."""
    return titled(title, [Result(case, metric, value, unit) for case, value in values.items()])


def write_whole(path: Path, rows: pa.Table) -> None:
    """The file that `to_parquet` writes, from rows that are there."""
    producer = [name for name in rows.schema.names if name == "producer"]
    pq.write_table(rows, path, row_group_size=65_536, use_dictionary=producer, write_page_checksum=True)


def same(package: str, path: Path, table: carls.EmbeddingTable) -> float:
    """Rows of the file, as the package reads it, whose values are the table's."""
    frame = import_module(package).read_parquet(path)
    keys = frame["key"].to_numpy()
    if package == "pandas":
        values = np.stack(frame["value"].to_list())
    else:
        values = frame["value"].explode().to_numpy().reshape(len(keys), -1)
    right = 0
    for start in range(0, len(keys), _CHUNK):
        part = slice(start, start + _CHUNK)
        there = table.lookup(keys[part].astype(np.int64), create=False).values
        right += int((there == values[part]).all(axis=1).sum())
    return float(right)


def of_runs(runs: list[list[Result]]) -> list[Result]:
    """Of each figure, the median of all runs, or the largest of what is the longest; and our
    figures against the others'."""
    results = []
    for several in zip(*runs, strict=True):
        numbers = [result.value for result in several]
        value = max(numbers) if several[0].metric in (LONGEST, BEYOND) else float(np.median(numbers))
        results.append(replace(several[0], value=value, n=sum(result.n for result in several)))
    known = {(result.case, result.metric): result for result in results}
    for (case, metric), ours in known.items():
        title, _, name = case.partition(SEPARATOR)
        for other in YARDSTICKS.get(name, ()):
            against = known.get((f"{title}{SEPARATOR}{other}", metric))
            if against is not None:
                ratio = ours.value / against.value
                results.append(replace(ours, against=against.case, ratio=ratio))
    return results


def main(
    rows: options.Rows = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Elements of a row.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Runs of each case.")] = None,
    folder: Annotated[Path | None, typer.Option(help="For the files; default a temporary one.")] = None,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Note how fast a table is written and loaded, and how long others wait meanwhile."""
    plan = QUICK if quick else FULL
    plan = replace(plan, rows=rows or plan.rows, dim=dim or plan.dim, runs=runs or plan.runs)
    if json is not None:
        check_writable(json)
    console = Console()
    done = []
    for number in range(1, plan.runs + 1):
        with tempfile.TemporaryDirectory(dir=folder) as at:
            with console.status(f"export: run {number} of {plan.runs}"):
                done.append(run(plan, Path(at)))
    results = of_runs(done)
    titles = dict.fromkeys(result.case.partition(SEPARATOR)[0] for result in results)
    for title in titles:
        show(console, "export", [result for result in results if result.case.startswith(title + SEPARATOR)])
    console.print(
        f"{plan.rows:,} rows x {plan.dim}, {plan.runs} runs; goal: {GOAL_MS:g} ms beyond the control"
    )
    if json is not None:
        there = versions("pyarrow", *(name for name in PACKAGES if find_spec(name)))
        write_json(
            json, "export", {**vars(plan), "threads": 1, "goal_ms": GOAL_MS, "versions": there}, results
        )
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
