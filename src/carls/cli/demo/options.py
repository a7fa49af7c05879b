"""Options that the demos share, and checks of them before any work is done."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from carls.cli.results import check_writable
from carls.client import connect
from carls.errors import CarlsError, InvalidRequestError

#: Longest wait for the bank that was named, in seconds.
BANK_S = 3.0
_PLOT_FORMATS = (".png", ".pdf", ".svg")

Seeds = Annotated[int, typer.Option(help="Runs of each case, with seeds 0, 1, ...")]
Steps = Annotated[int | None, typer.Option(help="Training steps; the tuned number if not given.")]
Epochs = Annotated[int | None, typer.Option(help="Walks over the data; the tuned number if not given.")]
Json = Annotated[Path | None, typer.Option(help="File to write the figures to.")]
Plot = Annotated[Path, typer.Option(help="File to draw the plot to (.png, .pdf, .svg).")]
BankUrl = Annotated[str | None, typer.Option(help="URL of a running bank; without it one is started.")]


def require(holds: bool, option: str, value: object, expected: str) -> None:
    """Raise `InvalidRequestError` about `--option value` unless it holds."""
    if not holds:
        raise InvalidRequestError(f"--{option} {value}: expected {expected}")


def check_options(seeds: int, json: Path | None, plot: Path) -> None:
    """See that there is something to do, and that what comes out can be written."""
    require(seeds >= 1, "seeds", seeds, "1 or more")
    require(plot.suffix in _PLOT_FORMATS, "plot", plot, f"a file name ending in one of {_PLOT_FORMATS}")
    for path in (json, plot):
        if path is not None:
            check_writable(path)


def check_count(option: str, count: int | None) -> None:
    """See that a number that was given is 1 or more."""
    require(count is None or count >= 1, option, count, "1 or more")


def check_server(bank: str | None) -> None:
    """See that the bank that was named answers, and that other processes can reach it too."""
    if bank is not None:
        require(bank != "memory://", "bank", "memory://", "a server that processes can share")
        connect(bank, timeout_s=BANK_S).close()


def require_extra() -> None:
    """Raise `CarlsError` with the remedy unless all is installed that demos need."""
    missing = [name for name in ("torch", "sklearn", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise CarlsError(f"the demos need {', '.join(missing)}: install with pip install 'carls[demo]'")


def together(processes: dict[str, int]) -> str:
    """The processes of a demo, to print: role -> process id."""
    roles = ", ".join(f"{role} {pid}" for role, pid in sorted(processes.items()))
    return f"Processes that learned together: {roles}"


def written(json: Path | None, plot: Path) -> str:
    """The files that were written, to print."""
    return f"Plot: {plot}" + ("" if json is None else f"   Figures: {json}")
