"""`python -m benchmarks.report`: puts the results into docs/benchmarks.md.

The page has a place for each subject, between `<!-- figures: NAME -->` and `<!-- end -->`. What
stands there is replaced by tables of NAME's JSON file; places without a file stay as they are.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.comparison import SEPARATOR, pivot
from carls.cli.results import Result

_PLACE = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(document: dict[str, Any]) -> str:
    """Markdown of one JSON file: the machine, and a table for each comparison."""
    results = [Result(**result) for result in document["results"]]
    # A subject that compares no calls has a table of its own.
    cells = getattr(import_module(f"benchmarks.{document['name']}"), "cells", None)
    if cells is not None:
        return "\n".join([_machine(document), "", *_table(*cells(results)), ""])
    parts: dict[str, list[Result]] = {}
    for result in results:
        title, separator, _ = result.case.partition(SEPARATOR)
        parts.setdefault(title if separator else "", []).append(result)
    lines = [_machine(document), ""]
    for title, part in parts.items():
        if title:
            lines += [f"**{title}**", ""]
        lines += [*_table(*pivot(part)), ""]
    return "\n".join(lines)


def fill(page: str, folder: Path) -> str:
    """`page` with its places filled from the JSON files in `folder`."""

    def place(found: re.Match[str]) -> str:
        path = folder / f"{found[2]}.json"
        if not path.exists():
            return found[0]
        return f"{found[1]}\n{render(json.loads(path.read_text()))}\n{found[3]}"

    return _PLACE.sub(place, page)


def _table(headings: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(headings), _row(["---", *["---:"] * (len(headings) - 1)]), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine(document: dict[str, Any]) -> str:
    machine, config = document["machine"], document["config"]
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        f"Python {machine['python']}, carls {machine['carls']}",
        *(f"{name} {version}" for name, version in config.get("versions", {}).items()),
    ]
    chosen = [f"{name} {_shown(value)}" for name, value in config.items() if name != "versions"]
    return f"{'; '.join(parts)}. Run with {', '.join(chosen)}."


def _shown(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def main(
    results: Annotated[Path, typer.Option(help="Folder with the JSON files.")] = Path("out/bench"),
    page: Annotated[Path, typer.Option(help="Page to fill.")] = Path("docs/benchmarks.md"),
) -> None:
    """Put the results into the page."""
    if not any(results.glob("*.json")):
        raise typer.BadParameter(f"no results in {results}: run `make bench` first, or name their folder")
    page.write_text(fill(page.read_text(), results))


if __name__ == "__main__":
    typer.run(main)
