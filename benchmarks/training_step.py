"""A training step with its rows in a bank, against the same step with its rows in the process.

The bank is a server over loopback in a process of its own, which torch's threads have to share
the cores with. Blocks of steps of the two sides take turns. A block with the bank ends when all
its pushes are applied; "with the pushes' end" shares that wait among the block's steps.

What rows said when they were read: how many steps old they were (trainer's step minus row's step,
rows that were pushed to at all), and how many of the trainer's own pushes they missed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from rich.console import Console

import carls
from benchmarks import options
from benchmarks.comparison import publish, show, titled, versions
from benchmarks.plan import Distribution, Plan
from benchmarks.staleness import Staleness
from benchmarks.tables import fill, use_threads, weights
from benchmarks.trainers import LR, BankTrainer, Batches, LocalTrainer, Trainer
from carls.cli.bench.timing import BLOCK, WARM
from carls.cli.results import Result, check_writable
from carls.service.process import BankProcess

FULL = Plan(tuple(Distribution), batch=(1024,), dim=(64,), rows=100_000, calls=200)

Hidden = Annotated[
    list[int] | None, typer.Option("--hidden", min=1, help="Width of the hidden layers; may repeat.")
]
Threads = Annotated[
    list[int] | None, typer.Option("--threads", min=1, help="Threads of torch, on both sides; may repeat.")
]


class Times(NamedTuple):
    """Seconds of each step; for each block with the end of its pushes, seconds a step, and seconds
    of the processor's time that all threads of this process took a step."""

    steps: list[float]
    blocks: list[float]
    processor: list[float]


def alternate(trainers: list[Trainer], steps: int) -> dict[str, Times]:
    """At least `steps` steps of each trainer, block by block in turn."""
    times = {trainer.name: Times([], [], []) for trainer in trainers}
    for trainer in trainers:
        trainer.start()
    first = 0
    while len(times[trainers[0].name].steps) < steps:
        for trainer in trainers:
            block, processor = 0.0, time.process_time()
            for step in range(first, first + BLOCK):
                start = time.perf_counter()
                trainer.step(step)
                took = time.perf_counter() - start
                trainer.look(step)
                block += took
                if step >= first + WARM:
                    times[trainer.name].steps.append(took)
            start = time.perf_counter()
            trainer.finish()
            times[trainer.name].blocks.append((block + time.perf_counter() - start) / BLOCK)
            times[trainer.name].processor.append((time.process_time() - processor) / BLOCK)
        first += BLOCK
    return times


def summarize(times: dict[str, Times], trainers: list[Trainer], staleness: Staleness) -> list[Result]:
    """Milliseconds a step, phases, the ratio to the local step, and how stale the rows were."""
    results = []
    for trainer in trainers:
        name, (steps, blocks, processor) = trainer.name, times[trainer.name]
        n = len(steps)
        results += [
            Result(name, "median step", *_milliseconds(steps), n),
            Result(name, "p99 step", float(np.percentile(steps, 99)) * 1e3, "ms", None, n),
            Result(name, "with the pushes' end", *_milliseconds(blocks), len(blocks)),
            Result(name, "processor time of all threads", *_milliseconds(processor), len(blocks)),
        ]
        for phase, seconds in trainer.phases.seconds.items():
            results.append(Result(name, phase, float(np.median(seconds)) * 1e3, "ms", None, len(seconds)))
    stale = ("age of a row", "steps", staleness.ages), ("own pushes missed", "pushes", staleness.missed)
    for metric, unit, parts in stale:
        values = np.concatenate(parts)
        for share in (50, 95, 100):
            name = "most" if share == 100 else f"p{share}"
            figure = float(np.percentile(values, share)) if len(values) else 0.0
            results.append(Result("carls", f"{metric}, {name}", figure, unit, None, len(values)))
    for metric, kind in (("median step", "steps"), ("with the pushes' end", "blocks")):
        mine, its = (float(np.median(getattr(times[name], kind))) for name in ("carls", "local"))
        results.append(Result("carls", metric, mine * 1e3, "ms", None, n, "local", mine / its))
    return results


def _milliseconds(seconds: list[float]) -> tuple[float, str, float]:
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return float(median) * 1e3, "ms", float(high - low) / 1.349 * 1e3


def measure(plan: Plan, distribution: Distribution, hidden: int, threads: int) -> list[Result]:
    """One comparison, in a bank of its own."""
    use_threads(threads)
    (batch,), (dim,) = plan.batch, plan.dim
    weight = weights(plan.rows, dim) * np.float32(0.05)
    batches = Batches.of(distribution.draw(plan.rows, batch))
    with _table(weight) as table:
        ours = BankTrainer(table, plan.rows, hidden, batches)
        trainers: list[Trainer] = [ours, LocalTrainer(weight, hidden, batches)]
        results = summarize(alternate(trainers, plan.calls), trainers, ours.staleness)
    s = "" if threads == 1 else "s"
    title = f"{distribution.value} keys, {dim}-{hidden}-{hidden}-1, batch {batch}, {threads} torch thread{s}"
    return titled(title, results)


@contextmanager
def _table(weight: Any) -> Iterator[carls.EmbeddingTable]:
    with BankProcess() as server, carls.connect(server.url) as bank:
        rows, dim = weight.shape
        table = bank.embeddings("bench", dim=dim, optimizer=carls.Adagrad(lr=LR))
        fill(table, np.arange(rows), weight)
        yield table


def main(
    keys: options.Keys = None,
    hidden: Hidden = None,
    threads: Threads = None,
    rows: options.Rows = None,
    calls: options.Calls = None,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Time training steps with rows in a bank against rows in the process."""
    if json is not None:
        check_writable(json)
    torch.sparse.check_sparse_tensor_invariants.disable()
    plan = Plan.of(FULL, quick=quick, keys=keys, rows=rows, calls=calls)
    widths = hidden or ([8] if quick else [256, 64])
    counts = threads or [1, 2]
    console = Console()
    results: list[Result] = []
    for count in counts:
        for width in widths:
            for distribution in plan.keys:
                with console.status(
                    f"training step: {distribution.value} keys, hidden {width}, {count} threads"
                ):
                    part = measure(plan, distribution, width, count)
                show(console, "training_step", part)
                results += part
    found = versions("torch")
    publish("training_step", plan, results, json, hidden=widths, threads=counts, versions=found)


if __name__ == "__main__":
    typer.run(main)
