"""`carls status`: what is in a bank, who writes and reads it, and how old rows are to their readers."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

import carls
from carls.cli.words import count, duration, grid, name, nbytes, paper, share
from carls.errors import InvalidRequestError
from carls.messages import BankStatus, Gap
from carls.statistics import (
    QUANTILES,
    Counters,
    Histogram,
    IndexStatistics,
    MemoryStatistics,
    TableStatistics,
    TaskStatistics,
)

#: Readers and producers of a table that are shown; the JSON form has them all.
SHOWN = 10


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
        paper().print(render(found, bank))


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
        models = grid("model", "version", "step", "age", "producer")
        for model in found.models:
            age = duration(model.age)
            models.add_row(model.name, str(model.version), f"{model.step:,}", age, name(model.producer))
        parts += ["", models]
    return Group(*parts)


def _headline(table: TableStatistics) -> str:
    if table.memory is not None:
        held = f"Gaussian memory, {count(table.memory.clusters)} clusters"
    elif table.tasks is not None:
        held = f"{count(table.tasks.tasks)} tasks that learn together"
    else:
        keys = "keys open" if table.keys is None else f"{table.keys} keys"
        held = f"{table.kind}, {keys}, {count(table.rows)} rows"
    return f"[bold]{escape(table.name)}[/]  {held}, {nbytes(table.nbytes)}"


def _details(table: TableStatistics) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if table.memory is not None:
        parts += _points(table.memory, table.counters)
    elif table.tasks is not None:
        parts += _coupled(table.tasks, table.counters)
    else:
        parts += _counts(table)
    if table.index is not None:
        parts.append(_index(table.index))
    for named, listed in ((table.readers, _readers), (table.producers, _producers)):
        if named:
            parts.append(listed(table))
        if len(named) > SHOWN:
            parts.append(f"[dim]and {len(named) - SHOWN} more: see --json[/]")
    return parts


def _counts(table: TableStatistics) -> list[str]:
    counted = table.counters
    reads = (
        f"looked up {count(counted.looked_up)} keys in {count(counted.lookups)} look-ups:\n"
        f"  {count(counted.fresh)} fresh, {count(counted.stale)} stale, "
        f"{count(counted.created)} created, {count(counted.missed)} missed"
    )
    writes = (
        f"written {count(counted.written)} rows in {count(counted.writes)} writes: "
        f"{count(counted.clipped)} clipped, {count(counted.erased)} erased;\n"
        f"  writes rejected {count(counted.rejected)}, retried {count(counted.retried)}"
    )
    growth = (
        f"limits: {count(counted.evicted)} evicted, {count(counted.expired)} expired, "
        f"{count(counted.unadmitted)} unadmitted, {count(counted.dropped)} dropped"
    )
    searches = f"searched {count(counted.queries)} queries in {count(counted.searches)} searches"
    touched = counted.evicted or counted.expired or counted.unadmitted or counted.dropped
    parts = [reads, writes, growth] if touched else [reads, writes]
    if table.pending or counted.outliers or counted.discarded:
        parts.append(
            f"gradients: {count(table.pending)} waiting, {count(counted.outliers)} outliers, "
            f"{count(counted.discarded)} discarded"
        )
    if counted.searches:
        parts.append(searches)
    return parts


def _points(memory: MemoryStatistics, counted: Counters) -> list[str]:
    return [
        f"absorbed {count(memory.points)} points in {count(memory.calls)} calls; no cluster of their own "
        "for\n"
        f"  {count(memory.refused_bootstrap)} in the bootstrap steps, {count(memory.refused_full)} as it "
        "was full",
        f"read {count(counted.looked_up)} points in {count(counted.lookups)} look-ups, "
        f"{count(counted.missed)} of them before there were clusters;\n"
        f"  calls rejected {count(counted.rejected)}, retried {count(counted.retried)}",
    ]


def _coupled(tasks: TaskStatistics, counted: Counters) -> list[str]:
    far = "objective and gap are known when each task has pushed"
    if tasks.objective is not None and tasks.bound is not None:
        relative = Gap(tasks.objective, tasks.bound).relative
        far = f"objective {tasks.objective:.6g}, relative gap {share(relative)}"
    return [
        f"{far};\n  {count(tasks.epochs)} epochs, {count(tasks.updates)} updates",
        f"pushes that came again {count(tasks.duplicates)}, too late {count(tasks.superseded)}, "
        f"rejected {count(counted.rejected)}",
    ]


def _index(index: IndexStatistics) -> str:
    if index.failure:
        return f"index fails: {name(index.failure)}"
    if index.age is None:
        return f"index not built: searches look at all {count(index.changed)} rows"
    return (
        f"index of {count(index.rows)} rows in {count(index.lists)} lists, "
        f"built {count(index.builds)} times;\n"
        f"  up to date {duration(index.age)} ago, {count(index.changed)} rows changed since"
    )


def _readers(table: TableStatistics) -> Table:
    listed = grid("read by", "keys", "age in", "50 % <", "90 % <", "99 % <", "all <", "ahead", "unsaid")
    for reader in sorted(table.readers, key=lambda reader: -reader.looked_up)[:SHOWN]:
        who = [name(reader.name), count(reader.looked_up)]
        if reader.steps.total or reader.ahead or reader.unsaid:
            others = [count(reader.ahead), count(reader.unsaid)]
            listed.add_row(*who, "steps", *_quantiles(reader.steps, count), *others)
            who = ["", ""]
        listed.add_row(*who, "time", *_quantiles(reader.seconds, duration))
    return listed


def _producers(table: TableStatistics) -> Table:
    listed = grid("written by", "rows", "newest step", "last write")
    for producer in sorted(table.producers, key=lambda producer: producer.age)[:SHOWN]:
        step = "unsaid" if producer.step < 0 else f"{producer.step:,}"
        listed.add_row(name(producer.name), count(producer.written), step, f"{duration(producer.age)} ago")
    return listed


def _quantiles(histogram: Histogram, shown: Callable[[float], str]) -> list[str]:
    bounds = [histogram.below(share) for share in QUANTILES.values()]
    return ["-" if bound is None else shown(bound) for bound in bounds]
