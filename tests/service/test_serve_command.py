"""`carls serve` as a process: how it starts, refuses and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carls
from carls.errors import UnavailableError
from carls.service import BankProcess


@pytest.fixture
def bank_process() -> Iterator[BankProcess]:
    with BankProcess() as process:
        yield process


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`carls serve` with arguments that it refuses."""
    command = [sys.executable, "-m", "carls", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


CLIENT = """
import sys, carls
bank = carls.connect(sys.argv[1])
table = bank.embeddings("t", dim=3)
table.lookup(["a"])
print("ready", flush=True)
sys.stdin.read()
"""


def test_it_serves_until_it_is_told_to_stop(bank_process: BankProcess) -> None:
    with carls.connect(bank_process.url) as bank:
        table = bank.embeddings("t", dim=2)
        table.assign(["a"], np.ones((1, 2), np.float32), step=3)
        assert table.lookup(["a"]).values.tolist() == [[1, 1]]
    assert bank_process.stop() == 0
    assert bank_process.stop() == 0


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_soon_though_streams_are_open(
    bank_process: BankProcess, stop: signal.Signals
) -> None:
    with carls.connect(bank_process.url, timeout_s=3.0) as bank:
        for name in ("t", "u"):
            bank.embeddings(name, dim=2).lookup(["a"])
        os.kill(bank_process.pid, stop)
        assert bank_process.stop(timeout_s=30.0) == 0
        with pytest.raises(UnavailableError, match="is `carls serve` running there"):
            bank.info()


def test_it_survives_a_client_that_is_killed(bank_process: BankProcess) -> None:
    for _ in range(3):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, bank_process.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with client:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
            client.kill()
    with carls.connect(bank_process.url) as bank:
        assert bank.embeddings("t", dim=3).lookup(["a"], create=False).found.tolist() == [True]


def test_a_killed_bank_is_replaced_by_another_that_is_empty() -> None:
    with BankProcess() as first:
        port = first.url.rpartition(":")[2]
        with carls.connect(first.url) as bank:
            table = bank.embeddings("t", dim=2)
            table.lookup(["a"])
            first.kill()
            with BankProcess(["--port", port]):
                with pytest.raises(carls.BankRestartedError):
                    table.lookup(["a"])
                assert table.lookup(["a"], create=False).found.tolist() == [False]


def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("--port", place.rpartition(":")[2])
    assert done.returncode == 1
    assert f"{place} is in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_can_reach_needs_insecure(host: str) -> None:
    done = run("--host", host, "--port", "0")
    assert done.returncode == 1
    assert "--insecure" in done.stderr
    assert "no authentication" in done.stderr


def test_insecure_allows_it() -> None:
    with BankProcess(["--host", "0.0.0.0", "--port", "0", "--insecure"]) as process:
        port = process.url.rpartition(":")[2]
        with carls.connect(f"grpc://127.0.0.1:{port}") as bank:
            assert bank.tables() == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--data-dir", "somewhere"], 2, "not in this version"),
        (["--port", "70000"], 1, "expected 0 to 65535"),
        (["--max-streams", "0"], 1, "streams=0"),
        (["--host", "no.such.host.invalid"], 1, "no.such.host.invalid"),
        (["--unix", "/no/such/folder/bank.sock"], 1, "/no/such/folder"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: list[str], code: int, said: str) -> None:
    done = run("--port", "0", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("somewhere").exists()


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "bank.sock"
    with BankProcess(["--unix", str(path)]) as process:
        assert process.url == f"grpc+unix://{path}"
        with carls.connect(process.url) as bank:
            assert bank.tables() == []
    assert not path.exists()


def test_limits_are_options() -> None:
    with (
        BankProcess(["--port", "0", "--max-request-mib", "1"]) as process,
        carls.connect(process.url) as bank,
    ):
        table = bank.embeddings("t", dim=1024)
        with pytest.raises(carls.RequestTooLargeError, match="1048576"):
            table.assign(np.arange(1000), np.ones((1000, 1024), np.float32))
        assert len(table) == 0


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(UnavailableError, match="expected 0 to 65535"):
        BankProcess(["--port", "70000"])


def test_a_client_that_is_never_closed_does_not_keep_its_program(bank_process: BankProcess) -> None:
    program = CLIENT.replace("sys.stdin.read()", "")
    done: Any = subprocess.run(
        [sys.executable, "-c", program, bank_process.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
