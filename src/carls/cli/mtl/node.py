"""`carls mtl node`: one task on the data of a file, coupled with others through a bank."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from safetensors.numpy import save_file

import carls
from carls.cli.mtl.samples import FileSamples
from carls.cli.results import check_writable
from carls.client.arguments import seconds
from carls.errors import InvalidRequestError, UnknownTableError
from carls.mtl import TaskNode
from carls.mtl.participant import TASK_INTERRUPTIONS

_SUFFIXES = (".json", ".safetensors")
#: Between two looks at whether the node was interrupted, in seconds.
_LOOK_S = 0.5
#: Longest wait for the bank's last word, in seconds.
_ANSWER_S = 2.0


def node(
    table: Annotated[str, typer.Option(help="Name of the table of tasks.")],
    task: Annotated[str, typer.Option(help="Name of this task.")],
    data: Annotated[Path, typer.Option(help="Parquet or CSV file, a row for each sample. It stays here.")],
    target: Annotated[str, typer.Option(help="Column to predict; -1 and 1 for losses of classification.")],
    bank: Annotated[str, typer.Option(help="URL of the bank.")] = "grpc://127.0.0.1:7070",
    loss: Annotated[str, typer.Option(help="least_squares, logistic or squared_hinge.")] = "least_squares",
    features: Annotated[
        str | None,
        typer.Option(
            help="Columns to predict from, with commas between; default: all other columns of numbers. They "
            "are ordered by name, so that sites with the same columns agree."
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column of the samples' weights.")] = None,
    intercept: Annotated[
        bool, typer.Option("--intercept", help="Fit an intercept, which stays here.")
    ] = False,
    regularizer: Annotated[
        str, typer.Option(help="Of the table, where --rho is given: nuclear, l21, l1, ridge, mean, ...")
    ] = "nuclear",
    rho: Annotated[
        float | None,
        typer.Option(
            help="Make the table if it is not there, with this weight; without it, it must be there."
        ),
    ] = None,
    until_gap: Annotated[
        float | None, typer.Option(help="Stop when the relative gap of all tasks is certified to be this.")
    ] = None,
    min_tasks: Annotated[int, typer.Option(min=1, help="What fewer tasks have reached does not count.")] = 1,
    deadline: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    leave: Annotated[
        bool, typer.Option("--leave", help="In the end take the task out; the others go on without it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File for the model in the end: .json or .safetensors.")
    ] = None,
) -> None:
    """Fit a task on the data of a file, coupled with others through a bank, until Ctrl-C or a given end."""
    if bank == "memory://":
        raise InvalidRequestError(
            "--bank memory://: such a bank is seen by its own process alone; give the URL of a bank server"
        )
    if out is not None:
        if out.suffix not in _SUFFIXES:
            raise InvalidRequestError(f"--out {out}: expected a file that ends in {' or '.join(_SUFFIXES)}")
        check_writable(out)
    if deadline is not None:
        seconds("--deadline", deadline)
    if until_gap is not None and not 0 < until_gap < math.inf:
        raise InvalidRequestError(f"--until-gap {until_gap:g}: expected a number above 0, such as 1e-6")
    samples = FileSamples.read(data, target, None if features is None else features.split(","), weights)
    console = Console(highlight=False, soft_wrap=True)
    with carls.connect(bank) as connection:
        # Before the table is made: what cannot be leaves none behind.
        worker = TaskNode(
            connection,
            table,
            task,
            samples.features,
            samples.targets,
            loss,
            weights=samples.weights,
            fit_intercept=intercept,
        )
        handle = _open(connection, table, len(samples.names), regularizer, rho)
        _check_dim(handle, samples)
        console.print(
            f"task {task}: {len(samples.targets):,} samples of {len(samples.names)} features, which stay "
            f"here: {', '.join(samples.names)[:300]}",
            markup=False,
        )
        _work(worker, deadline, until_gap, min_tasks, console)
        _tell(worker, handle, console)
        if out is not None:
            _write(out, worker, samples, {"task": task, "table": table, "loss": loss})
            console.print(f"model written to {out}", markup=False)
        if leave:
            worker.leave()
            console.print(f"task {task} taken out of table {table}", markup=False)


def _open(bank: carls.Bank, table: str, dim: int, regularizer: str, rho: float | None) -> carls.TaskTable:
    if rho is not None:
        return bank.tasks(table, dim, regularizer, rho)
    try:
        found = bank.open(table)
    except UnknownTableError:
        raise InvalidRequestError(
            f"there is no table {table!r} in {bank.url}: whoever comes first makes it, with --regularizer "
            "and --rho here or with bank.tasks(...) in Python",
            table=table,
        ) from None
    if not isinstance(found, carls.TaskTable):
        raise InvalidRequestError(
            f"table {table!r} is a table of kind {found.spec.kind!r}: expected a table of tasks", table=table
        )
    return found


def _check_dim(table: carls.TaskTable, samples: FileSamples) -> None:
    if len(samples.names) != table.spec.dim:
        raise InvalidRequestError(
            f"{len(samples.names)} features ({', '.join(samples.names)[:300]}), and table {table.name!r} is "
            f"for {table.spec.dim}: name the same columns at every site, with --features",
            table=table.name,
        )


def _work(
    worker: TaskNode, deadline: float | None, until_gap: float | None, min_tasks: int, console: Console
) -> None:
    """Let it work until its end or a signal, and say what interrupts it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    worker.start(deadline, until_gap, min_tasks)
    told = 0
    try:
        while not worker.wait(_LOOK_S):
            progress = worker.progress
            if progress.interruptions > told:
                told = progress.interruptions
                console.print(f"interrupted, trying again: {progress.last_error}", markup=False)
    except KeyboardInterrupt:
        console.print("stopping")
        worker.stop()


def _tell(worker: TaskNode, table: carls.TaskTable, console: Console) -> None:
    done = worker.progress
    console.print(
        f"{done.updates:,} updates, {done.interruptions} interruptions, {done.mean_delay_s:.3f} s from pull "
        f"to push on average; {_gap(table)}",
        markup=False,
    )


def _gap(table: carls.TaskTable) -> str:
    try:
        state = table.state(_ANSWER_S)
    except TASK_INTERRUPTIONS:
        return "the bank is away"
    gap = "not known: not every task has pushed" if state.gap is None else f"{state.gap.relative:.1e}"
    return f"{len(state.nodes)} tasks, relative gap {gap}"


def _write(path: Path, worker: TaskNode, samples: FileSamples, facts: dict[str, str]) -> None:
    names = list(samples.names)
    if path.suffix == ".json":
        model = {
            **facts,
            "features": names,
            "model": worker.model.tolist(),
            "intercept": worker.intercept,
        }
        path.write_text(json.dumps(model, indent=2) + "\n")
        return
    tensors = {"model": worker.model, "intercept": np.array([worker.intercept])}
    save_file(tensors, path, metadata={**facts, "features": json.dumps(names)})
