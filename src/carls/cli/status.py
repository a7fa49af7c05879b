"""`carls status`: what is in a bank, who writes and reads it, and how old rows are to their readers."""

from __future__ import annotations

import json as json_text
import os
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

import carls
from carls.errors import InvalidRequestError
from carls.messages import BankStatus
from carls.statistics import (
    QUANTILES,
    Counters,
    Histogram,
    IndexStatistics,
    MemoryStatistics,
    TableStatistics,
)

#: Readers and producers of a table that are shown; the JSON form has them all.
SHOWN = 10
#: Characters of a name that are shown.
NAME_WIDTH = 20
#: Columns of the text where no terminal says how many it has.
PIPED_WIDTH = 120


def status(
    bank: Annotated[str, typer.Option(help="URL of the bank.")] = "grpc://127.0.0.1:7070",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for an answer, in seconds.")] = 5.0,
) -> None:
    """Tell what is in a bank, what happened to it, and how old rows were when they were read."""
    if bank == "memory://":
        raise InvalidRequestError(
            "--bank memory://: such a bank is seen by its own process alone; call its status() there, "
            "or give the URL of a bank server"
        )
    with carls.connect(bank, timeout_s=timeout_s) as connection:
        found = connection.status()
    if json:
        print(json_text.dumps(found.to_json(), indent=2))
    else:
        console = Console(highlight=False)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = PIPED_WIDTH
        console.print(render(found, bank))


def render(found: BankStatus, url: str) -> RenderableType:
    """The status for people."""
    kept = "durable" if found.durable else "in memory"
    head = (
        f"[bold]bank[/] {escape(url)}  id {escape(found.id[:8])}  carls {escape(found.version)}  "
        f"{kept}  up {duration(found.uptime_s)}"
    )
    parts: list[RenderableType] = [head]
    for table in found.tables:
        parts += ["", _headline(table), *(Padding(part, (0, 0, 0, 2)) for part in _details(table))]
    if not found.tables:
        parts.append("no tables")
    if found.models:
        models = _grid("model", "version", "step", "age", "producer")
        for model in found.models:
            age = duration(model.age)
            models.add_row(model.name, str(model.version), f"{model.step:,}", age, _name(model.producer))
        parts += ["", models]
    return Group(*parts)


def duration(seconds: float) -> str:
    """Seconds for people, in two or three digits: 16 ms, 8.2 s, 4.3 min, 18 h, 2.8 d."""
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            count = seconds / size
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.2g} {unit}"
    return f"{seconds * 1000:.0f} ms"


def _headline(table: TableStatistics) -> str:
    if table.memory is not None:
        held = f"Gaussian memory, {_count(table.memory.clusters)} clusters"
    else:
        keys = "keys open" if table.keys is None else f"{table.keys} keys"
        held = f"{table.kind}, {keys}, {_count(table.rows)} rows"
    return f"[bold]{escape(table.name)}[/]  {held}, {_nbytes(table.nbytes)}"


def _details(table: TableStatistics) -> list[RenderableType]:
    parts: list[RenderableType] = []
    parts += _counts(table) if table.memory is None else _points(table.memory, table.counters)
    if table.index is not None:
        parts.append(_index(table.index))
    for named, grid in ((table.readers, _readers), (table.producers, _producers)):
        if named:
            parts.append(grid(table))
        if len(named) > SHOWN:
            parts.append(f"[dim]and {len(named) - SHOWN} more: see --json[/]")
    return parts


def _counts(table: TableStatistics) -> list[str]:
    counted = table.counters
    reads = (
        f"looked up {_count(counted.looked_up)} keys in {_count(counted.lookups)} look-ups:\n"
        f"  {_count(counted.fresh)} fresh, {_count(counted.stale)} stale, "
        f"{_count(counted.created)} created, {_count(counted.missed)} missed"
    )
    writes = (
        f"written {_count(counted.written)} rows in {_count(counted.writes)} writes: "
        f"{_count(counted.clipped)} clipped, {_count(counted.erased)} erased;\n"
        f"  writes rejected {_count(counted.rejected)}, retried {_count(counted.retried)}"
    )
    growth = (
        f"limits: {_count(counted.evicted)} evicted, {_count(counted.expired)} expired, "
        f"{_count(counted.unadmitted)} unadmitted, {_count(counted.dropped)} dropped"
    )
    searches = f"searched {_count(counted.queries)} queries in {_count(counted.searches)} searches"
    touched = counted.evicted or counted.expired or counted.unadmitted or counted.dropped
    parts = [reads, writes, growth] if touched else [reads, writes]
    if table.pending or counted.outliers or counted.discarded:
        parts.append(
            f"gradients: {_count(table.pending)} waiting, {_count(counted.outliers)} outliers, "
            f"{_count(counted.discarded)} discarded"
        )
    if counted.searches:
        parts.append(searches)
    return parts


def _points(memory: MemoryStatistics, counted: Counters) -> list[str]:
    return [
        f"absorbed {_count(memory.points)} points in {_count(memory.calls)} calls; no cluster of their own "
        "for\n"
        f"  {_count(memory.refused_bootstrap)} in the bootstrap steps, {_count(memory.refused_full)} as it "
        "was full",
        f"read {_count(counted.looked_up)} points in {_count(counted.lookups)} look-ups, "
        f"{_count(counted.missed)} of them before there were clusters;\n"
        f"  calls rejected {_count(counted.rejected)}, retried {_count(counted.retried)}",
    ]


def _index(index: IndexStatistics) -> str:
    if index.failure:
        return f"index fails: {_name(index.failure)}"
    if index.age is None:
        return f"index not built: searches look at all {_count(index.changed)} rows"
    return (
        f"index of {_count(index.rows)} rows in {_count(index.lists)} lists, "
        f"built {_count(index.builds)} times;\n"
        f"  up to date {duration(index.age)} ago, {_count(index.changed)} rows changed since"
    )


def _readers(table: TableStatistics) -> Table:
    grid = _grid("read by", "keys", "age in", "50 % <", "90 % <", "99 % <", "all <", "ahead", "unsaid")
    for reader in sorted(table.readers, key=lambda reader: -reader.looked_up)[:SHOWN]:
        who = [_name(reader.name), _count(reader.looked_up)]
        if reader.steps.total or reader.ahead or reader.unsaid:
            others = [_count(reader.ahead), _count(reader.unsaid)]
            grid.add_row(*who, "steps", *_quantiles(reader.steps, _count), *others)
            who = ["", ""]
        grid.add_row(*who, "time", *_quantiles(reader.seconds, duration))
    return grid


def _producers(table: TableStatistics) -> Table:
    grid = _grid("written by", "rows", "newest step", "last write")
    for producer in sorted(table.producers, key=lambda producer: producer.age)[:SHOWN]:
        step = "unsaid" if producer.step < 0 else f"{producer.step:,}"
        grid.add_row(_name(producer.name), _count(producer.written), step, f"{duration(producer.age)} ago")
    return grid


def _quantiles(histogram: Histogram, shown: Callable[[float], str]) -> list[str]:
    bounds = [histogram.below(share) for share in QUANTILES.values()]
    return ["-" if bound is None else shown(bound) for bound in bounds]


def _grid(first: str, *columns: str) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    grid.add_column(first, no_wrap=True)
    for column in columns:
        grid.add_column(column, justify="right", no_wrap=True)
    return grid


def _name(name: str) -> str:
    """A name that a client chose: harmless to a terminal, its middle left out if it is long."""
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return escape(shown if len(shown) <= NAME_WIDTH else f"{shown[:9]}…{shown[9 - NAME_WIDTH + 1 :]}")


def _count(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def _nbytes(number: int) -> str:
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1024:.3g} KiB"
