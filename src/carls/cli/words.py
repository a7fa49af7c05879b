"""How numbers, times, names and tables are written for people."""

from __future__ import annotations

import os

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: Characters of a name that are shown.
NAME_WIDTH = 20
#: Columns of the text where no terminal says how many it has.
PIPED_WIDTH = 120


def paper() -> Console:
    """Where a command writes: a terminal, or a file that is wide enough for its tables."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def duration(seconds: float) -> str:
    """Seconds for people, in two or three digits: 16 ms, 8.2 s, 4.3 min, 18 h, 2.8 d."""
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            number = seconds / size
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.2g} {unit}"
    return f"{seconds * 1000:.0f} ms"


def grid(first: str, *columns: str) -> Table:
    """A table without lines: names in the first column, numbers in the others."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def name(chosen: str) -> str:
    """A name that a client chose: harmless to a terminal, its middle left out if it is long."""
    shown = "".join(character if character.isprintable() else "?" for character in chosen)
    return escape(shown if len(shown) <= NAME_WIDTH else f"{shown[:9]}…{shown[9 - NAME_WIDTH + 1 :]}")


def count(number: float) -> str:
    """A whole number, in three digits from a million on: 1,500, 2.5 M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def nbytes(number: int) -> str:
    """Bytes, in three digits: 1.5 KiB, 2 GiB."""
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1024:.3g} KiB"


def share(number: float) -> str:
    """A small share of a whole in two digits, such as 1.3e-05."""
    return "0" if number == 0 else f"{number:.1e}"
