"""Pushes of gradients by each optimizer, in process, int64 keys, one thread.

Each is timed against what its rows' bytes cost (benchmarks/scattered.py), and against torch's
optimizer for sparse gradients where there is one:

    python -m benchmarks.optimizers --json out/bench/optimizers.json
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import carls
from benchmarks.scattered import Scattered
from carls.cli.bench.timing import interleave
from carls.cli.results import Result, check_writable, write_json

BATCHES = 200
HEADER_NBYTES = 32
STATE = {  # floats of state of a row: (for each element, besides)
    "sgd": (0, 0),
    "momentum": (1, 0),
    "adagrad": (1, 0),
    "rowwise_adagrad": (0, 1),
    "adam": (2, 1),
    "ftrl": (2, 0),
}
TORCH: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.SparseAdam,
}
Case = Callable[[int], Any]


def row_nbytes(optimizer: str, dim: int) -> int:
    """Bytes of a row: header, value, state."""
    each, besides = STATE[optimizer]
    return (HEADER_NBYTES + 4 * (dim + each * dim + besides) + 7) & ~7


def push(bank: carls.Bank, optimizer: str, rows: int, picks: list[Any], gradients: Any) -> Case:
    """Pushes to a full table."""
    table = bank.embeddings(
        optimizer, dim=gradients.shape[1], optimizer=carls.Optimizer.of(optimizer), initializer="zeros"
    )
    keys = np.arange(rows) * 7919
    for start in range(0, rows, 8192):
        table.lookup(keys[start : start + 8192])
    batches = [keys[pick] for pick in picks]
    return lambda i: table.push_gradients(batches[i % BATCHES], gradients)


def torch_step(optimizer: str, rows: int, picks: list[Any], gradients: Any) -> Case:
    """Steps of torch's optimizer with a sparse gradient."""
    weight = torch.nn.Parameter(torch.zeros(rows, gradients.shape[1]))
    stepper = TORCH[optimizer]([weight], lr=0.01)
    indices, values = [torch.from_numpy(pick)[None] for pick in picks], torch.from_numpy(gradients)

    def step(i: int) -> None:
        weight.grad = torch.sparse_coo_tensor(
            indices[i % BATCHES], values, weight.shape, check_invariants=False
        )
        stepper.step()

    return step


def compare(times: dict[str, Any]) -> list[Result]:
    """Median of each case; each optimizer's rate against its bytes, torch's and Adagrad's rate."""
    results = []
    for name, seconds in times.items():
        low, high = np.percentile(seconds, [25, 75])
        median, spread = float(np.median(seconds)) * 1e3, float(high - low) / 1.349 * 1e3
        results.append(Result(name, "median call", median, "ms", spread, len(seconds)))
    medians = {result.case: result.value for result in results}
    for name in STATE:
        others = [f"{name}: its bytes", f"{name}: torch", *(["adagrad"] if name == "rowwise_adagrad" else [])]
        for other in others:
            if other in medians:
                ratio = medians[other] / medians[name]
                results.append(Result(name, "rate", 1e3 / medians[name], "calls/s", None, 1, other, ratio))
    return results


def show(results: list[Result], title: str) -> Table:
    """A line for each optimizer."""
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    columns = ("optimizer", "push ms", "+-", "bytes", "push/bytes", "torch", "torch/push")
    for column in columns:
        table.add_column(column, justify="left" if column == "optimizer" else "right", no_wrap=True)
    medians = {result.case: result for result in results if result.metric == "median call"}
    ratios = {(result.case, result.against): result.ratio for result in results}
    for name in STATE:
        bytes_, torch_ = (medians.get(f"{name}: {other}") for other in ("its bytes", "torch"))
        own, times = ratios.get((name, f"{name}: its bytes")), ratios.get((name, f"{name}: torch"))
        table.add_row(
            name,
            f"{medians[name].value:.3f}",
            f"{medians[name].sd:.3f}",
            f"{bytes_.value:.3f}" if bytes_ else "",
            f"{1 / own:.2f}" if own else "",
            f"{torch_.value:.3f}" if torch_ else "",
            f"{times:.1f}" if times else "",
        )
    return table


def main(
    json: Annotated[Path | None, typer.Option("--json", help="File to write the results to.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each table.")] = 1_000_000,
    dim: Annotated[int, typer.Option(min=1, help="Elements of a row.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Keys of a push.")] = 1024,
    calls: Annotated[int, typer.Option(min=20, help="Pushes of each optimizer.")] = 400,
    quick: Annotated[bool, typer.Option("--quick", help="A small table and few calls.")] = False,
) -> None:
    """Time a push by each optimizer against its bytes and against torch."""
    if quick:
        rows, calls = min(rows, 20_000), 20
    if json is not None:
        check_writable(json)
    torch.set_num_threads(1)
    console = Console()
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, rows, batch) for _ in range(BATCHES)]
    gradients = rng.standard_normal((batch, dim)).astype(np.float32)
    try:
        scattered = Scattered(rows * max(row_nbytes(name, dim) for name in STATE))
    except FileNotFoundError as error:
        scattered = None
        console.print(f"{error}: what the rows' bytes cost is not measured")
    with carls.connect() as bank, Progress(console=console, transient=True) as progress:
        task = progress.add_task("filling tables", total=None)
        cases: dict[str, Case] = {}
        for name in STATE:
            cases[name] = push(bank, name, rows, picks, gradients)
            if scattered is not None:
                cases[f"{name}: its bytes"] = scattered.adder(row_nbytes(name, dim), picks)
            if name in TORCH:
                cases[f"{name}: torch"] = torch_step(name, rows, picks, gradients)
        progress.update(task, description="pushing", total=(calls + 19) // 20)
        times = interleave(cases, calls, progress=partial(progress.advance, task))
    results = compare(times)
    console.print(show(results, f"push of {batch} of {rows:,} rows x {dim}, one thread"))
    if json is not None:
        config = {"rows": rows, "dim": dim, "batch": batch, "calls": calls, "threads": 1}
        write_json(json, "benchmark optimizers", config, results)
        console.print(f"written to {json}")


if __name__ == "__main__":
    typer.run(main)
