"""`carls mtl watch` against real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import carls
from carls.cli.mtl.watch import watch
from carls.service import BankProcess
from carls.testing.tasks import plain_tasks, turn

WATCH = [sys.executable, "-m", "carls", "mtl", "watch"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [*WATCH, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def fill(url: str, rounds: int) -> None:
    """A table of three tasks, of which t2 has never answered where there are no rounds."""
    nodes = plain_tasks(3, 2)
    with carls.connect(url, producer="node [red]\x1b[2J") as bank:
        table = bank.tasks("school", 2, "l21", 0.5)
        for name, node in nodes.items():
            table.join(name, node.profile)
        for name in ("t0", "t1"):
            turn(table, name, nodes[name])
        for _ in range(rounds):
            for name, node in nodes.items():
                turn(table, name, node)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with BankProcess() as server:
        fill(server.url, 0)
        with carls.connect(server.url) as bank:
            bank.embeddings("items", dim=2)
        yield server.url


def test_one_look_for_people(url: str) -> None:
    done = run("--bank", url, "--table", "school", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert lines[0][:5] == ["school", "3", "tasks", "of", "dim"]
    assert "l21, rho 0.5, douglas_rachford" in done.stdout
    assert "known when each task has pushed" in done.stdout
    assert "0 epochs, 2 updates; pushes that came again 0, too late 0" in done.stdout
    assert ["t2", "node", "[red]?[2J", "0", "-", "-", "-"] in [line[:7] for line in lines]


def test_one_look_for_machines(url: str) -> None:
    done = run("--bank", url, "--table", "school", "--once", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    with carls.connect(url) as bank:
        table = bank.open("school")
        assert isinstance(table, carls.TaskTable)
        assert told["bank"] == bank.id
        assert told["spec"] == table.spec.to_json()
        state = table.state()
    assert [node["task"] for node in told["nodes"]] == list(state.tasks)
    assert [node["updates"] for node in told["nodes"]] == [1, 1, 0]
    assert (told["updates"], told["mu"], told["gap"], told["relative_gap"]) == (2, state.mu, None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"table": "nobody"}, carls.UnknownTableError, "no table 'nobody'"),
        ({"table": "items"}, carls.InvalidRequestError, "of kind 'embedding': expected one of tasks"),
        ({"every_s": 0.0}, carls.InvalidRequestError, "--every-s 0: expected seconds"),
        ({"bank": "memory://"}, carls.InvalidRequestError, "its own process"),
        ({"bank": "grpc+unix:///no/such/socket"}, carls.UnavailableError, "is `carls serve` running there"),
    ],
)
def test_what_cannot_be_watched(url: str, arguments: dict[str, Any], error: Any, said: str) -> None:
    plain = {"table": "school", "bank": url, "once": True, "json": False, "every_s": 1.0, "timeout_s": 0.5}
    with pytest.raises(error, match=said):
        watch(**plain | arguments)


def test_what_cannot_be_watched_is_told_in_a_line(url: str) -> None:
    done = run("--bank", url, "--once", "--table", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no table 'nobody'" in done.stderr
    assert "Traceback" not in done.stderr


def lines_until(process: subprocess.Popen[str], holds: Any) -> dict[str, Any]:
    """The first line of JSON that is so; the test's own time limit ends what never comes."""
    assert process.stdout is not None
    for line in process.stdout:
        told: dict[str, Any] = json.loads(line)
        if holds(told):
            return told
    raise AssertionError("the command ended")


def test_a_watcher_follows_its_table_to_a_bank_that_is_started_anew(tmp_path: Any) -> None:
    unix = str(tmp_path / "bank")
    command = [*WATCH, "--table", "school", "--bank", f"grpc+unix://{unix}", "--json", "--every-s", "0.05"]
    server = BankProcess(("--unix", unix))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines_until(process, lambda told: told.get("error", {}).get("code") == "UnknownTableError")
            fill(server.url, 1)
            first = lines_until(process, lambda told: told.get("epochs", 0) >= 1)
            assert first["relative_gap"] > 0
            server.kill()
            lines_until(process, lambda told: "error" in told)
            server = BankProcess(("--unix", unix))
            # It waits for somebody else to make the table: perhaps with another spec.
            lines_until(process, lambda told: told.get("error", {}).get("code") == "UnknownTableError")
            fill(server.url, 2)
            again = lines_until(process, lambda told: told.get("epochs", 0) >= 2)
            assert again["bank"] != first["bank"]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()
            server.kill()


def test_a_live_view_ends_cleanly(url: str) -> None:
    command = [*WATCH, "--table", "school", "--bank", url, "--every-s", "0.05"]
    environment = {**os.environ, "COLUMNS": "80", "FORCE_COLOR": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert any("last seen" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")
            assert "Traceback" not in rest
        finally:
            process.kill()
