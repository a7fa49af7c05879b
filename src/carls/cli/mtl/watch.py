"""`carls mtl watch`: how far a table of tasks is, and which of its nodes answer."""

from __future__ import annotations

import json as json_text
import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape

import carls
from carls.cli.words import count, duration, grid, name, paper, share
from carls.errors import BankError, InvalidRequestError, UnknownTableError

#: Nodes that are shown, those first that were not seen for longest; the JSON form has them all.
SHOWN = 20


@dataclass(frozen=True)
class Look:
    """A table of tasks at one time.

    Attributes:
        bank: id of the bank.
        table: its name.
        spec: of the table.
        state: of the table.
    """

    bank: str
    table: str
    spec: carls.TaskSpec
    state: carls.TaskState

    @property
    def gap(self) -> float | None:
        """The relative gap, if one is known and finite."""
        relative = math.inf if self.state.gap is None else self.state.gap.relative
        return relative if math.isfinite(relative) else None

    def to_json(self) -> dict[str, Any]:
        """The look as JSON-able facts."""
        return {"bank": self.bank, "table": self.table, "spec": self.spec.to_json()} | (
            self.state.to_json() | {"relative_gap": self.gap}
        )


def watch(
    table: Annotated[str, typer.Option(help="Name of the table.")],
    bank: Annotated[str, typer.Option(help="URL of the bank.")] = "grpc://127.0.0.1:7070",
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON document on a line for each look instead.")
    ] = False,
    every_s: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for an answer, in seconds.")] = 5.0,
) -> None:
    """Show how far a table of tasks is and which of its nodes answer, until Ctrl-C.

    A bank that is not there, or has been replaced, is looked for again.
    """
    if bank == "memory://":
        raise InvalidRequestError(
            "--bank memory://: such a bank is seen by its own process alone; call state() of the table "
            "there, or give the URL of a bank server"
        )
    if not 0.01 <= every_s <= 3600:
        raise InvalidRequestError(f"--every-s {every_s:g}: expected seconds from 0.01 to 3600")
    if once:
        found = look(bank, table, timeout_s)
        if json:
            print(json_text.dumps(found.to_json()))
        else:
            paper().print(render(found))
        return
    with suppress(KeyboardInterrupt):
        if json:
            _follow_lines(bank, table, every_s, timeout_s)
        else:
            _follow(bank, table, every_s, timeout_s)


def look(bank: str, table: str, timeout_s: float) -> Look:
    """Look at a table once.

    Raises:
        UnknownTableError: there is no such table; none is made.
        InvalidRequestError: it is of another kind.
    """
    # A connection for each look: a handle that is kept would make the table anew in a bank that was replaced.
    with carls.connect(bank, timeout_s=timeout_s) as connection, connection.open(table) as opened:
        if not isinstance(opened, carls.TaskTable):
            raise InvalidRequestError(
                f"table {table!r} is a table of kind {opened.spec.kind!r}: expected one of tasks; see "
                "carls status",
                table=table,
            )
        return Look(connection.id, table, opened.spec, opened.state())


def render(found: Look) -> RenderableType:
    """A look for people."""
    spec, state = found.spec, found.state
    head = (
        f"[bold]{escape(found.table)}[/]  {count(len(state.nodes))} tasks of dim {count(spec.dim)}, "
        f"{spec.regularizer.name}, rho {spec.rho:g}, {spec.algorithm.name}, in bank {escape(found.bank[:8])}"
    )
    if state.gap is None:
        far = "objective and gap are known when each task has pushed"
    else:
        gap = "infinite" if found.gap is None else share(found.gap)
        far = f"objective {state.gap.objective:.8g}, relative gap {gap}"
    way = (
        f"{count(state.epochs)} epochs, {count(state.updates)} updates; pushes that came again "
        f"{count(state.duplicates)}, too late {count(state.superseded)}"
    )
    steps = f"mu {state.mu:.3g}, guard {state.guard:g}, longest delay {count(state.longest_delay)} pushes"
    return Group(head, far, way, steps, *_nodes(state))


def _nodes(state: carls.TaskState) -> list[RenderableType]:
    listed = grid("task", "node of", "updates", "delay", "mean of 5", "behind", "last seen")
    for node in sorted(state.nodes, key=lambda node: -node.seen_s)[:SHOWN]:
        answered = node.behind >= 0
        listed.add_row(
            name(node.task),
            name(node.producer),
            count(node.updates),
            duration(node.delay_s) if answered else "-",
            duration(node.mean_delay_s) if answered else "-",
            count(node.behind) if answered else "-",
            f"{duration(node.seen_s)} ago",
        )
    more = len(state.nodes) - SHOWN
    return [listed] if more <= 0 else [listed, f"[dim]and {more} more, seen since: see --json[/]"]


def _follow(bank: str, table: str, every_s: float, timeout_s: float) -> None:
    pause = threading.Event()
    with Live(console=paper(), auto_refresh=False) as live:
        last: RenderableType = ""
        while True:
            try:
                last = render(look(bank, table, timeout_s))
                live.update(last, refresh=True)
            except (BankError, UnknownTableError) as error:
                live.update(Group(last, f"[bold red]not now:[/] {escape(str(error))}"), refresh=True)
            pause.wait(every_s)


def _follow_lines(bank: str, table: str, every_s: float, timeout_s: float) -> None:
    pause = threading.Event()
    while True:
        try:
            told = look(bank, table, timeout_s).to_json()
        except (BankError, UnknownTableError) as error:
            told = {"error": error.to_json()}
        print(json_text.dumps(told), flush=True)
        pause.wait(every_s)
