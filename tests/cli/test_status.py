"""`carls status` against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

import carls
from carls.cli.words import duration
from carls.service import BankProcess
from carls.testing.tasks import plain_tasks, turn


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carls", "status", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that one trainer with a nasty name and one maker have used."""
    with BankProcess() as server:
        with carls.connect(server.url, producer="trainer [red]\x1b[2J") as bank:
            items = bank.embeddings("items", dim=2, optimizer=carls.SGD(lr=1.0))
            with carls.connect(server.url, producer="maker") as maker:
                maker.embeddings("items", dim=2, optimizer=carls.SGD(lr=1.0)).assign(
                    np.arange(1500), np.ones((1500, 2), np.float32), step=40
                )
            items.lookup(np.arange(1500), at_step=47, max_age_steps=5)
            with pytest.raises(carls.InvalidValueError):
                items.push_gradients([1], [[np.inf, 0.0]])
            bank.embeddings("empty", dim=2)
            memory = bank.gaussian_memory(
                "memory",
                dim=2,
                buffer_size=8,
                distance_threshold=1.0,
                max_clusters=2,
                bootstrap_steps=0,
                min_variance=1e-3,
            )
            for _ in range(2):
                memory.lookup([[0, 0], [5, 5], [9, 9]], "grow")
            memory.lookup([[0, 0]])
            shared = bank.embeddings("shared", dim=1, optimizer="sgd", aggregate=carls.Lazy(max_delay_s=1e6))
            for size in [1.0] * 12 + [100.0]:
                shared.push_gradients([1, 2], [[size], [size]])
            shared.erase([2])
            school = bank.tasks("school", dim=2, rho=0.5)
            nodes = plain_tasks(2, 2)
            for name, node in nodes.items():
                school.join(name, node.profile)
            for name, node in nodes.items():
                turn(school, name, node)
            bank.models.publish("encoder", {"w": np.ones(2)}, step=1200)
        yield server.url


def test_for_machines(url: str) -> None:
    done = run("--bank", url, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    with carls.connect(url) as bank:
        found = bank.status()
    assert told["id"] == found.id
    assert [table["name"] for table in told["tables"]] == ["empty", "items", "memory", "school", "shared"]
    items = told["tables"][1]
    assert items["memory"] is None
    assert told["tables"][2]["memory"] == {
        "clusters": 2,
        "calls": 2,
        "points": 6,
        "refused_bootstrap": 2,
        "refused_full": 1,
    }
    school = told["tables"][3]
    assert (school["kind"], school["rows"], items["tasks"]) == ("tasks", 2, None)
    assert (school["tasks"]["tasks"], school["tasks"]["updates"], school["tasks"]["epochs"]) == (2, 2, 1)
    assert school["tasks"]["bound"] <= school["tasks"]["objective"]
    assert items["rows"] == 1500
    assert (items["counters"]["stale"], items["counters"]["rejected"]) == (1500, 1)
    assert items["readers"][0]["steps"]["counts"] == [0, 0, 0, 1500]
    assert items["readers"][0]["steps"]["below"] == {"p50": 8.0, "p90": 8.0, "p99": 8.0, "max": 8.0}
    assert (items["producers"][0]["name"], items["producers"][0]["step"]) == ("maker", 40)
    assert (told["models"][0]["name"], told["models"][0]["step"]) == ("encoder", 1200)


def test_for_people(url: str) -> None:
    done = run("--bank", url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert ["items", "embedding,", "int64", "keys,", "1,500", "rows,"] in [line[:6] for line in lines]
    assert "0 fresh, 1,500 stale, 0 created, 0 missed" in done.stdout
    assert "writes rejected 1, retried 0" in done.stdout
    assert ["1,500", "steps", "8", "8", "8", "8", "0", "0"] in [line[-8:] for line in lines]
    assert ["maker", "1,500", "40"] in [line[:3] for line in lines]
    assert ["encoder", "1", "1,200"] in [line[:3] for line in lines]
    assert "trainer [red]?[2J" in done.stdout  # neither markup nor control characters of others
    assert "…" not in done.stdout
    assert ["school", "2", "tasks", "that", "learn", "together,"] in [line[:6] for line in lines]
    assert "1 epochs, 2 updates" in done.stdout
    assert "pushes that came again 0, too late 0, rejected 0" in done.stdout
    assert done.stdout.count("gradients: ") == 1
    assert "gradients: 13 waiting, 2 outliers, 13 discarded" in done.stdout


@pytest.mark.parametrize(
    ("bank", "said"),
    [
        ("memory://", "its own process"),
        ("nonsense", "expected memory://, grpc://host:port"),
        ("grpc+unix:///no/such/socket", "is `carls serve` running there"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(bank: str, said: str) -> None:
    done = run("--bank", bank, "--timeout-s", "0.5", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_durations() -> None:
    assert [
        duration(s) for s in (0.0, 0.016, 0.9, 1.024, 9.96, 16.4, 131.0, 5400.0, 64_800.0, 250_000.0)
    ] == [
        "0 ms",
        "16 ms",
        "900 ms",
        "1 s",
        "10 s",
        "16 s",
        "2.2 min",
        "1.5 h",
        "18 h",
        "2.9 d",
    ]


def test_searches_and_indexes_are_told() -> None:
    with BankProcess() as server, carls.connect(server.url) as bank:
        table = bank.embeddings("t", dim=2)
        table.assign(np.arange(20_000), np.random.default_rng(0).standard_normal((20_000, 2), np.float32))
        table.nearest([[1.0, 0.0], [0.0, 1.0]], k=1)
        plain = run("--bank", server.url).stdout
        assert "searched 2 queries in 1 searches" in plain
        assert "index" not in plain
        table.set_index("ivf")
        due = time.monotonic() + 60
        while "index of 20,000 rows in 141 lists, built 1 times" not in (
            told := run("--bank", server.url).stdout
        ):
            assert "index not built: searches look at all 20,000 rows" in told
            assert time.monotonic() < due
