"""The command of a benchmark whose comparisons follow a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from benchmarks import options
from benchmarks.comparison import Comparison, run
from benchmarks.plan import Plan
from benchmarks.tables import use_threads


def command(
    name: str,
    purpose: str,
    full: Plan,
    comparisons: Callable[[Plan], Iterable[Comparison]],
    versions: Callable[[], Mapping[str, str]],
    threads: int | str = 1,
) -> Callable[..., None]:
    """What typer runs.

    Args:
        name: of the benchmark.
        purpose: a sentence for `--help`.
        full: the plan, but for what the command line says.
        comparisons: of a plan.
        versions: of what is compared with.
        threads: that compute on each side, as the results say it.
    """

    def main(
        keys: options.Keys = None,
        batch: options.Batch = None,
        dim: options.Dim = None,
        rows: options.Rows = None,
        calls: options.Calls = None,
        quick: options.Quick = False,
        json: options.Json = None,
    ) -> None:
        use_threads(1)
        plan = Plan.of(full, quick=quick, keys=keys, batch=batch, dim=dim, rows=rows, calls=calls)
        run(name, plan, comparisons(plan), json, threads=threads, versions=versions())

    main.__doc__ = purpose
    return main
