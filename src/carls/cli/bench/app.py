"""The commands of `carls bench`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from carls.cli.bench.cases import Cases, local_lookup, local_push, remote_lookup, remote_push
from carls.cli.bench.timing import interleave, summarize
from carls.cli.results import Result, check_writable, write_json

app = typer.Typer(help="Measure look-ups and pushes, here or at your own bank.", no_args_is_help=True)

BankUrl = Annotated[
    str | None, typer.Option("--bank", help="URL of a bank server; default: one is started here.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File to write the results to.")]
Calls = Annotated[int, typer.Option(min=20, help="Calls of each case.")]
LocalRows = Annotated[int, typer.Option(min=1, help="Rows of the table in this process.")]
Rows = Annotated[int, typer.Option(min=1, help="Rows of the table in the server.")]
Dim = Annotated[int, typer.Option(min=1, help="Elements of a row.")]
Batch = Annotated[int, typer.Option(min=1, help="Keys of a call.")]


@app.command()
def lookup(
    bank: BankUrl = None,
    json: JsonFile = None,
    calls: Calls = 400,
    local_rows: LocalRows = 1_000_000,
    rows: Rows = 100_000,
    dim: Dim = 64,
    batch: Batch = 1024,
) -> None:
    """Time look-ups with their metadata. In process only where no --bank is given."""
    parts = [("remote lookup", rows, remote_lookup(bank, rows, dim, batch))]
    if bank is None:
        parts.insert(0, ("in-process lookup", local_rows, local_lookup(local_rows, dim, batch)))
    _run("bench lookup", parts, calls, dim, batch, json)


@app.command()
def push(
    bank: BankUrl = None,
    json: JsonFile = None,
    calls: Calls = 400,
    local_rows: LocalRows = 1_000_000,
    rows: Rows = 100_000,
    dim: Dim = 64,
    batch: Batch = 1024,
) -> None:
    """Time Adagrad pushes. In process only where no --bank is given."""
    parts = [("remote push", rows, remote_push(bank, rows, dim, batch))]
    if bank is None:
        parts.insert(0, ("in-process push", local_rows, local_push(local_rows, dim, batch)))
    _run("bench push", parts, calls, dim, batch, json)


def _run(
    name: str,
    parts: list[tuple[str, int, Iterator[Cases]]],
    calls: int,
    dim: int,
    batch: int,
    json: Path | None,
) -> None:
    if json is not None:
        check_writable(json)
    console = Console()
    results: list[Result] = []
    for title, rows, cases in parts:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"{title}: filling {rows:,} rows", total=None)
            for ready in cases:
                progress.update(task, description=title, total=calls // 20)
                times = interleave(ready, calls, progress=partial(progress.advance, task))
        part = summarize(times, batch)
        console.print(_table(f"{title}: {batch} of {rows:,} rows x {dim}, one thread a side", part))
        results += part
    if json is not None:
        write_json(json, name, {"calls": calls, "dim": dim, "batch": batch, "threads": 1}, results)
        console.print(f"written to {json}")


def _table(title: str, results: list[Result]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("case", "median ms", "+-", "p99 ms", "million rows/s", "rate against it"):
        table.add_column(column, justify="left" if column == "case" else "right")
    ratios = {result.against: result.ratio for result in results}
    for case in dict.fromkeys(result.case for result in results):
        mine = {result.metric: result for result in results if result.case == case and result.against is None}
        median, ratio = mine["median call"], ratios.get(case)
        table.add_row(
            case,
            f"{median.value:.3f}",
            f"{median.sd:.3f}",
            f"{mine['p99 call'].value:.3f}",
            f"{mine['rate'].value / 1e6:.2f}",
            "" if ratio is None else f"{ratio:.2f}",
        )
    return table
