"""What crosses the wire while nodes work: every byte is recorded, and searched for their data."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node_process import NodeProcess
from problems import Problem

import carls
from carls.mtl import Participant, TaskNodes, make_task
from carls.service import BankProcess
from carls.testing.proxy import Direction, FaultyProxy

DIM = 100
#: Names of columns, keys and frames of a call, beside its vectors.
OVERHEAD = 700


class Recorder(FaultyProxy):
    """Keeps all bytes that it relays, for each direction of each connection."""

    def __init__(self, url: str) -> None:
        self._kept: dict[tuple[int, Direction], bytearray] = defaultdict(bytearray)
        super().__init__(url)

    def _write(self, pipe: Any) -> None:
        before = pipe.pending
        super()._write(pipe)
        self._kept[id(pipe.source), pipe.direction] += before[: len(before) - len(pipe.pending)]

    def said(self, *directions: Direction) -> list[bytes]:
        return [bytes(said) for (_, way), said in self._kept.items() if way in directions]


def traces(X: Any, y: Any) -> dict[str, Any]:
    """What must not be seen, as arrays of which each number, or two neighbours, would be a leak."""
    table = np.column_stack([X, y])
    return {
        "samples": table,
        "columns": table.T,
        "X'y": X.T @ y,
        "X'X": X.T @ X,
        "sums": table.sum(axis=0),
        "means": table.mean(axis=0),
        "squares of y": np.array([np.sum(y**2), np.sum(y**2) / 2, np.linalg.norm(y)]),
    }


def found(X: Any, y: Any, said: list[bytes]) -> set[str]:
    """Which traces of the data are in what was said: as text, as 8 bytes, or two neighbours as 4 each.

    Single numbers of 4 bytes are not looked for: they are seen by chance.
    """
    heard = b"\0".join(said)
    eights = np.concatenate(
        [np.frombuffer(heard, "<u8", (len(heard) - offset) // 8, offset) for offset in range(8)]
    )
    texts = {float(text) for text in re.findall(rb"-?\d+\.\d+(?:e-?\d+)?", heard)}
    leaks = set()
    for what, numbers in traces(X, y).items():
        forms = [numbers.astype(kind).ravel().view("<u8") for kind in ("<f8", ">f8")]
        for kind in ("<f4", ">f4"):
            pairs = np.stack([numbers[..., :-1], numbers[..., 1:]], axis=-1).astype(kind)
            forms.append(np.ascontiguousarray(pairs).view("<u8").ravel())
        if np.isin(np.concatenate(forms), eights).any() or not texts.isdisjoint(numbers.ravel().tolist()):
            leaks.add(what)
    return leaks


@pytest.fixture
def problem() -> Problem:
    """Two tasks of many numbers, none of them round: those are everywhere."""
    random = np.random.default_rng(0)
    X = [random.standard_normal((150, DIM)) for _ in range(2)]
    return Problem(X, [x @ random.standard_normal(DIM) + random.standard_normal(150) for x in X])


def test_only_models_and_a_few_scalars_leave_a_node(
    server: BankProcess, problem: Problem, tmp_path: Path
) -> None:
    with Recorder(server.url) as wire, carls.connect(server.url) as bank, problem.open(bank) as table:
        with NodeProcess(wire.url, problem, problem.names, tmp_path, until_gap=1e-4) as nodes:
            models = nodes.models(100.0)
        state = table.state()
        to_bank, to_client = wire.said(Direction.TO_BANK), wire.said(Direction.TO_CLIENT)
        for X, y in zip(problem.X, problem.y, strict=True):
            assert found(X, y, to_bank + to_client) == set()
        # What the node says is one vector for each update, what it hears are two.
        allowed = (state.updates + 20) * (OVERHEAD + 8 * DIM)
        assert 8 * DIM * state.updates < sum(map(len, to_bank)) < allowed
        assert sum(map(len, to_client)) < allowed + 8 * DIM * (state.updates + 20)
        # The record is whole: it has the last model, as the node says it.
        heard = b"".join(to_client)
        assert all(np.array(models[name]).tobytes() in heard for name in problem.names)
        bank.drop("table")


def test_what_a_node_pushes_is_seen_on_the_wire(server: BankProcess, problem: Problem) -> None:
    task = make_task(problem.X[0], problem.y[0])
    node = Participant("t0", task)
    with Recorder(server.url) as wire, carls.connect(wire.url) as bank, problem.open(bank) as table:
        for _ in range(3):
            node.step(table)
        pull = table.pull("t0")
        correction, evidence = task.answer(pull, table.algorithm)
        table.push("t0", pull.sequence, correction, evidence)
        said = wire.said(Direction.TO_BANK)
        assert correction.tobytes() in b"".join(said)
        bank.drop("table")
    # Numbers that were sent are found in each of the ways that the search knows.
    for kind in ("<f8", ">f8", "<f4", ">f4"):
        assert found(problem.X[0], problem.y[0], [*said, problem.X[0][3:4, 7:9].astype(kind).tobytes()])
    assert found(problem.X[0], problem.y[0], [*said, json.dumps(problem.y[0][4]).encode()]) == {
        "samples",
        "columns",
    }


class Leaky:
    """A task that sends a row of its data as its correction."""

    def __init__(self, X: Any, y: Any) -> None:
        self._task, self._row = make_task(X, y), X[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def answer(self, pull: Any, algorithm: Any) -> Any:
        return self._row, self._task.answer(pull, algorithm)[1]


def test_a_row_that_leaks_is_found(server: BankProcess, problem: Problem) -> None:
    X, y = problem.X[0], problem.y[0]
    with Recorder(server.url) as wire, carls.connect(server.url) as bank, problem.open(bank):
        tasks: dict[str, Any] = {"t0": Leaky(X, y)}
        TaskNodes(wire.url, "table", tasks).run(deadline_s=1.0)
        assert found(X, y, wire.said(Direction.TO_BANK)) == {"samples", "columns"}
        bank.drop("table")
