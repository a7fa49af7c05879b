"""Memory that a table takes at its peak, while look-ups create its rows, and what stays when it is dropped.

Each case runs in a process of its own. The peak is that of the process (VmHWM) beyond that of the
same process with an empty table. It is compared with the bare values and the optimizer's state, and
for string keys with those and the bytes of the keys.
"""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

import carls
from benchmarks.comparison import tabulate
from carls.cli.results import Result, check_writable, write_json

#: Most times the bare bytes that the first case may take.
GOAL = 1.45
BARE = "bare bytes"
BATCH = 4096
_KEY_BYTES = 16


@dataclass(frozen=True)
class Case:
    """A table with Adagrad.

    Attributes:
        keys: "int64", or "string" for keys of 16 characters.
        dim: elements of a row.
        rows: of the table.
    """

    keys: str
    dim: int
    rows: int

    def __str__(self) -> str:
        return f"{self.keys} keys, dim {self.dim}, {self.rows:,} rows"

    @property
    def bare(self) -> int:
        """Bytes of a row's value and state, and of a string key."""
        return 2 * 4 * self.dim + (_KEY_BYTES if self.keys == "string" else 0)

    def batch(self, start: int) -> carls.Keys:
        """The keys of one look-up."""
        ids = np.arange(start, min(start + BATCH, self.rows)) * 7919
        return carls.Keys.of(ids if self.keys == "int64" else [f"{i:0{_KEY_BYTES}d}" for i in ids.tolist()])


FULL = [
    Case("int64", 16, 10_000_000),
    Case("int64", 64, 10_000_000),
    Case("string", 16, 10_000_000),
]
QUICK = [Case("int64", 16, 100_000), Case("string", 16, 100_000)]


def status(field: str) -> int:
    """Bytes that the kernel counts for this process: "VmHWM", the most so far, or "VmRSS", now."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def fill(case: Case) -> None:
    """Fill a table and drop it; prints the bytes of its peak and what is left, beyond an empty table."""
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=case.dim, optimizer=carls.Adagrad())
        table.lookup(case.batch(0))
        table.erase(case.batch(0))
        peak, now = status("VmHWM"), status("VmRSS")
        for start in range(0, case.rows, BATCH):
            table.lookup(case.batch(start))
        assert len(table) == case.rows
        peak = status("VmHWM") - peak
        bank.drop("t")
        gc.collect()
        print(peak, status("VmRSS") - now)


def measure(case: Case) -> list[Result]:
    """Figures of one case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "fill", case.keys, str(case.dim), str(case.rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, left = (int(word) for word in done.stdout.split())
    name, row = str(case), peak / case.rows
    return [
        Result(name, "peak of a row", row, "bytes", None, case.rows, BARE, row / case.bare),
        Result(name, "peak", peak / 2**20, "MiB"),
        Result(name, "left after the drop", left / 2**20, "MiB"),
    ]


def cells(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each case."""
    rows = []
    for case in dict.fromkeys(result.case for result in results):
        row, peak, left = (result for result in results if result.case == case)
        sizes = [f"{row.value:.1f}", f"{row.ratio:.2f}", f"{peak.value:.0f}", f"{left.value:.0f}"]
        rows.append([case, *sizes])
    return ["case", "bytes a row", "times the bare bytes", "peak MiB", "left after the drop MiB"], rows


app = typer.Typer()


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Small tables: shows that it runs.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="File to write the results to.")] = None,
) -> None:
    """Measure the peak of memory of tables that are filled by look-ups. Linux."""
    if context.invoked_subcommand is not None:
        return
    if json is not None:
        check_writable(json)
    console, results = Console(), []
    for case in QUICK if quick else FULL:
        with console.status(f"memory: {case}"):
            results += measure(case)
    console.print(tabulate(f"memory at the peak; goal {GOAL} times the bare bytes", *cells(results)))
    if json is not None:
        write_json(json, "memory", {"batch": BATCH, "optimizer": "adagrad", "goal": GOAL}, results)
        console.print(f"written to {json}")


@app.command(name="fill", hidden=True)
def fill_command(keys: str, dim: int, rows: int) -> None:
    """One case, in this process."""
    fill(Case(keys, dim, rows))


if __name__ == "__main__":
    app()
