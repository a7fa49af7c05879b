"""The `carls` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from carls.cli.bench import app as bench
from carls.cli.demo import app as demo
from carls.cli.files import export, import_
from carls.cli.mtl import app as mtl
from carls.cli.serve import serve
from carls.cli.status import status
from carls.errors import CarlsError
from carls.version import VERSION

app = typer.Typer(
    name="carls",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(status)
app.command()(export)
app.command("import")(import_)
app.add_typer(demo, name="demo")
app.add_typer(mtl, name="mtl")
app.add_typer(bench, name="bench")


def _print_version(asked: bool) -> None:
    if asked:
        print(VERSION)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A knowledge bank where training jobs and knowledge makers meet without waiting."""


@app.command()
def version() -> None:
    """Print the version."""
    print(VERSION)


def main() -> None:
    """Run the command line; errors of carls become one line and exit code 1."""
    try:
        app()
    except CarlsError as error:
        Console(stderr=True, highlight=False).print(
            f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True
        )
        sys.exit(1)
