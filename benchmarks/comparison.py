"""A comparison: calls timed in turns with their yardsticks, as a table and as results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.plan import Plan
from carls.cli.bench.cases import Cases
from carls.cli.bench.timing import interleave, summarize
from carls.cli.results import Result, check_writable, write_json

#: Stands between the title of a comparison and the name of a case.
SEPARATOR = ": "

_WIDEST = 8


@dataclass(frozen=True, eq=False)
class Comparison:
    """Cases that do the same work.

    Attributes:
        title: such as "uniform keys, 1024 x 64".
        batch: rows of a call.
        cases: what is timed, by name; ours first.
        ours: how many of the cases are ours; the rate of each is compared with each other case's.
    """

    title: str
    batch: int
    cases: Cases
    ours: int = 1

    def measure(self, calls: int) -> list[Result]:
        """Figures of at least `calls` calls of each case."""
        times = interleave(self.cases, calls, progress=lambda: None)
        names = list(self.cases)
        pairs = [(mine, other) for other in names[self.ours :] for mine in names[: self.ours]]
        return titled(self.title, summarize(times, self.batch, pairs))


def titled(title: str, results: Iterable[Result]) -> list[Result]:
    """The results, with the title of their comparison before the names of their cases."""
    return [
        replace(
            result,
            case=f"{title}{SEPARATOR}{result.case}",
            against=None if result.against is None else f"{title}{SEPARATOR}{result.against}",
        )
        for result in results
    ]


def run(name: str, plan: Plan, comparisons: Iterable[Comparison], json: Path | None, **config: Any) -> None:
    """Measure one comparison after the other, and publish their results."""
    if json is not None:
        check_writable(json)
    console = Console()
    results: list[Result] = []
    for comparison in comparisons:
        with console.status(f"{name}: {comparison.title}"):
            part = comparison.measure(plan.calls)
        show(console, name, part)
        results += part
    publish(name, plan, results, json, **config)


def publish(name: str, plan: Plan, results: Sequence[Result], json: Path | None, **config: Any) -> None:
    """Write the results with the plan and more `config`, where a file is named."""
    if json is not None:
        write_json(json, name, {**plan.to_config(), **config}, results)
        Console().print(f"written to {json}")


def show(console: Console, name: str, results: Sequence[Result]) -> None:
    """Print the results of one comparison."""
    console.print(tabulate(f"{name}, {results[0].case.partition(SEPARATOR)[0]}", *pivot(results)))


def tabulate(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for people."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if table.columns else "left", min_width=5)
    for row in rows:
        table.add_row(*(cell.replace(" ±", "\N{NO-BREAK SPACE}±") for cell in row))
    return table


def pivot(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table: a row per case, a column per metric, and one per case of ours
    with the ratio of its figure to that of the row's case. Turned over where it would be too wide."""
    figures: dict[str, dict[str, str]] = {}
    for result in results:
        row = figures.setdefault(result.case if result.against is None else result.against, {})
        if result.ratio is None:
            row[f"{result.metric.removesuffix(' call')}, {_unit(result.unit)}"] = _figure(result)
        else:
            row[f"{_name(result.case)} / it, {result.metric}"] = f"{result.ratio:.2f}"
    headings = list(dict.fromkeys(heading for row in figures.values() for heading in row))
    rows = [[_name(case), *(row.get(heading, "") for heading in headings)] for case, row in figures.items()]
    if len(headings) <= _WIDEST:
        return ["case", *headings], rows
    return ["", *(row[0] for row in rows)], [
        [heading, *(row[column] for row in rows)] for column, heading in enumerate(headings, 1)
    ]


def _name(case: str) -> str:
    return case.partition(SEPARATOR)[2] or case


def _unit(unit: str) -> str:
    return "M rows/s" if unit == "rows/s" else unit


def _figure(result: Result) -> str:
    value = result.value / 1e6 if result.unit == "rows/s" else result.value
    if result.sd is not None:
        return f"{value:.3f} ±{result.sd:.3f}"
    return f"{value:.0f}" if value == round(value) else f"{value:.3f}"


def versions(*packages: str) -> Mapping[str, str]:
    """Versions of the packages that were compared with."""
    return {package: metadata.version(package) for package in packages}
