"""The commands `carls mtl ...`."""

from __future__ import annotations

import typer

from carls.cli.mtl.node import node
from carls.cli.mtl.watch import watch

app = typer.Typer(help="Tasks that learn together in a bank, each at its own node.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Tasks that learn together in a bank, each at its own node."""


app.command()(node)
app.command()(watch)
