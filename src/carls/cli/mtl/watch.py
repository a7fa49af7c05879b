"""`carls mtl watch`: how far a table of tasks is, and which of its nodes answer."""

from __future__ import annotations

import json as json_text
from typing import Annotated

import typer
from rich.console import Console

import carls


def watch(
    table: Annotated[str, typer.Option(help="Name of the table.")],
    bank: Annotated[str, typer.Option(help="URL of the bank.")] = "grpc://127.0.0.1:7070",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")] = False,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for an answer, in seconds.")] = 5.0,
) -> None:
    """Show how far a table of tasks is, and which of its nodes answer."""
    with carls.connect(bank, timeout_s=timeout_s) as connection:
        opened = connection.open(table)
        assert isinstance(opened, carls.TaskTable)
        state = opened.state()
    if json:
        print(json_text.dumps(state.to_json(), indent=2))
    else:
        Console(highlight=False).print(state)
