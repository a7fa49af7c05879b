"""Nodes in processes of their own: they die and return, and so does their bank."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess
from problems import Problem

import carls
from carls.mtl import TaskNode
from carls.service import BankProcess
from carls.testing.proxy import Direction, FaultyProxy


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def updates(table: Any) -> dict[str, int]:
    return {node.task: node.updates for node in table.state().nodes}


def test_the_others_go_on_when_a_node_is_killed_and_it_may_return(
    server: BankProcess, tmp_path: Path, until: Callable[..., Any]
) -> None:
    problem = Problem.random()
    with carls.connect(server.url) as bank, problem.open(bank) as table:
        others = [
            TaskNode(bank, "table", name, x, y, delay=lambda: 0.002)
            for name, x, y in list(zip(problem.names, problem.X, problem.y, strict=True))[1:]
        ]
        for node in others:
            node.start(deadline_s=120.0, until_gap=1e-9, min_tasks=3)
        with NodeProcess(server.url, problem, ["t0"], tmp_path) as lost:
            until(lambda: updates(table).get("t0", 0) > 2)
            lost.kill()
        before = updates(table)
        until(lambda: all(updates(table)[node] > before[node] + 20 for node in ("t1", "t2")))
        assert updates(table)["t0"] == before["t0"], "it was not killed"
        with NodeProcess(server.url, problem, ["t0"], tmp_path, until_gap=1e-9) as returned:
            models = returned.models()
            for node in others:
                assert node.wait(60.0)
        assert updates(table)["t0"] > before["t0"], "its column was not kept"
        problem.check([models["t0"], *(node.model for node in others)])
        bank.drop("table")


def test_nodes_fill_a_bank_that_was_killed_and_restarted_empty(
    tmp_path: Path, until: Callable[..., Any]
) -> None:
    problem = Problem.random()
    port = str(free_port())
    first = BankProcess(("--port", port))
    here = TaskNode(first.url, "table", "t0", problem.X[0], problem.y[0])
    with carls.connect(first.url) as bank:
        problem.open(bank)
        with NodeProcess(first.url, problem, ["t1", "t2"], tmp_path, until_gap=1e-9) as there:
            until(lambda: len(bank.open("table").tasks) == 2)
            here.start(deadline_s=120.0, until_gap=1e-9, min_tasks=3)
            until(lambda: here.progress.updates)
            first.kill()
            # Nobody opens the table here: the nodes do.
            with BankProcess(("--port", port)):
                models = there.models()
                assert here.wait(60.0)
    assert here.progress.interruptions >= 1
    problem.check([here.model, models["t1"], models["t2"]])


@pytest.mark.parametrize("direction", list(Direction))
def test_every_answer_counts_once_however_often_it_is_sent(
    server: BankProcess, direction: Direction, until: Callable[..., Any]
) -> None:
    problem = Problem.random()
    with FaultyProxy(server.url) as proxy, carls.connect(server.url) as bank, problem.open(bank) as table:
        with carls.connect(proxy.url, timeout_s=5.0) as faulty:
            nodes = [
                TaskNode(faulty, "table", name, x, y, delay=lambda: 0.002).start()
                for name, x, y in zip(problem.names, problem.X, problem.y, strict=True)
            ]

            def cut(nbytes: int) -> None:
                before = proxy.connections
                proxy.cut_after(direction, nbytes)
                until(lambda: proxy.connections > before)

            for nbytes in range(700, 4000, 197):  # within a message, and each time another part of it
                cut(nbytes)
            others = iter(range(701, 40_000, 83))
            while not any(node.progress.duplicates for node in nodes):  # no reply to a push was lost so far
                cut(next(others))
            until(lambda: (found := table.state().certified) and found.relative < 1e-9)
            for node in nodes:
                node.stop()
            progress = [node.progress for node in nodes]
            problem.check([node.model for node in nodes])
            assert sum(one.updates + one.duplicates for one in progress) == table.state().updates
        bank.drop("table")


@pytest.mark.slow
def test_all_schools_in_four_processes(tmp_path: Path, school: tuple[list[Any], list[Any]]) -> None:
    problem = Problem(*school, rho=100.0)
    with BankProcess() as server, carls.connect(server.url) as bank, problem.open(bank) as table:
        processes = [
            NodeProcess(server.url, problem, problem.names[part::4], tmp_path, until_gap=1e-6)
            for part in range(4)
        ]
        models: dict[str, Any] = {}
        try:
            for process in processes:
                models |= process.models(150.0)
        finally:
            for process in processes:
                process.kill()
        state = table.state()
        assert len(state.nodes) == 139
        assert state.certified is not None
        assert state.certified.relative <= 1e-6
        distance = problem.objective([models[name] for name in problem.names]) - state.certified.bound
        assert distance <= 1e-4 * state.certified.objective
