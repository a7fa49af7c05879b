"""Searches in process: by looking at every row against faiss, and through an index while rows are rewritten.

Both sides of the first part hold the same rows and give the top 100 of 8 queries at a time; faiss holds
vectors alone, one after the other, carls whole rows with their keys, for one table with an
optimizer's state between them. The second part is `benchmarks.search_index`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import typer
from rich.console import Console

import carls
from benchmarks import options, search_index
from benchmarks.comparison import Comparison, publish, show, versions
from benchmarks.plan import Distribution, Plan
from benchmarks.tables import Matrix, fill, integer_keys, use_threads, weights
from carls.cli.bench.cases import Cases
from carls.cli.results import Result, check_writable

#: Rows found for each query.
K = 100
FULL = Plan((Distribution.UNIFORM,), batch=(8, 1, 64), dim=(64,), rows=100_000, calls=100)


def cases(tables: dict[str, carls.EmbeddingTable], flat: Any, queries: list[Matrix]) -> Cases:
    """Searches for each of `queries` (batch, dim) in turn, in our tables and in faiss."""
    n = len(queries)

    def of(table: carls.EmbeddingTable) -> Callable[[int], Any]:
        return lambda i: table.nearest(queries[i % n], k=K)

    ours = {name: of(table) for name, table in tables.items()}
    return {**ours, "faiss IndexFlatIP": lambda i: flat.search(queries[i % n], K)}


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """One for each dim, number of threads and number of queries; the process keeps to as many cores."""
    cores = sorted(os.sched_getaffinity(0))
    for dim in plan.dim:
        weight = weights(plan.rows, dim)
        flat = faiss.IndexFlatIP(dim)
        flat.add(weight)
        with carls.connect() as bank:
            tables = {
                "carls": bank.embeddings("plain", dim=dim),
                "carls, Adagrad": bank.embeddings("trained", dim=dim, optimizer=carls.Adagrad(lr=0.1)),
                "carls, float16": bank.embeddings("half", dim=dim, dtype="float16"),
            }
            for table in tables.values():
                fill(table, integer_keys(plan.rows), weight)
            for threads in (1, 2)[: len(cores)]:
                os.sched_setaffinity(0, cores[:threads])
                faiss.omp_set_num_threads(threads)
                for batch in plan.batch:
                    queries = list(np.random.default_rng(2).standard_normal((20, batch, dim), np.float32))
                    title = f"{batch} queries, top {K} of {plan.rows} x {dim}, threads {threads}"
                    yield Comparison(title, batch, cases(tables, flat, queries), ours=len(tables))
            os.sched_setaffinity(0, cores)


def _of_queries(result: Result) -> Result:
    """What a call is for is a query, not a row."""
    return replace(result, unit="queries/s") if result.unit == "rows/s" else result


def main(
    batch: options.Batch = None,
    dim: options.Dim = None,
    rows: options.Rows = None,
    calls: options.Calls = None,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Time searches against faiss, and searches through an index while rows are rewritten.

    --rows is of the tables of the first part; the second has ten times as many.
    """
    if json is not None:
        check_writable(json)
    use_threads(1)
    plan, console = Plan.of(FULL, quick=quick, batch=batch, dim=dim, rows=rows, calls=calls), Console()
    results: list[Result] = []
    for comparison in comparisons(plan):
        with console.status(f"search: {comparison.title}"):
            part = [_of_queries(result) for result in comparison.measure(plan.calls)]
        show(console, "search", part)
        results += part
    for part in search_index.measure(10 * plan.rows, plan.dim[0], quick, console):
        show(console, "search", part)
        results += part
    used = versions("faiss-cpu", "numpy")
    publish("search", plan, results, json, threads="1 and 2", k=K, versions=used, index=search_index.CONFIG)


if __name__ == "__main__":
    typer.run(main)
