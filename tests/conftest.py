"""What all tests share: data, and that nothing is skipped where everything must run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carls.service import BankServer
from doubles import ScriptedEngine


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failed one: something that it needs was not set up."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
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
