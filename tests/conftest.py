"""What all tests share: data, banks in other processes, and that nothing is skipped where all must run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bank_host import BankHost, HostedBank
from carls.service import BankServer
from doubles import ScriptedEngine

# How long an example takes says what else the machine does.
settings.register_profile("carls", deadline=None)
settings.load_profile("carls")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failed one: something that it needs was not set up."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return  # a worker: the session that started it counts
    if os.environ.get("CI") and exitstatus == 0 and reporter.stats.get("skipped"):
        session.exitstatus = 1


@pytest.fixture
def data_folder() -> Path:
    """The folder with the real data sets."""
    folder = os.environ.get("CARLS_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set CARLS_DATA to the folder with the data sets")
    return Path(folder)


@pytest.fixture
def serve() -> Iterator[Callable[..., BankServer]]:
    """Starts servers; they are closed in the end."""
    servers: list[BankServer] = []

    def start(engine: Any = None, **options: Any) -> BankServer:
        servers.append(BankServer(engine or ScriptedEngine(), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close(1.0)


@pytest.fixture(scope="session")
def bank_host() -> Iterator[BankHost]:
    with BankHost() as host:
        yield host


@pytest.fixture
def hosted(bank_host: BankHost) -> Iterator[HostedBank]:
    """A new bank in another process, to which nothing is done but by its clients."""
    with bank_host.bank() as bank:
        yield bank


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition, with a deadline; gives what it gave."""

    def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (result := condition()):
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.01)
        return result

    return until
