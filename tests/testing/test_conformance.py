"""The shipped conformance suite, over every kind of bank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import carls
from bank_host import HostedBank
from carls.bank import Engine
from carls.service import BankServer
from carls.testing import BankConformance


class TestInProcess(BankConformance):
    """The bank in this process."""

    @pytest.fixture
    def bank(self) -> Iterator[carls.Bank]:
        with carls.connect() as bank:
            yield bank


class TestLoopback(BankConformance):
    """A bank server in another process, over TCP."""

    @pytest.fixture
    def bank(self, hosted: HostedBank) -> Iterator[carls.Bank]:
        with carls.connect(hosted.url) as bank:
            yield bank


class TestUnixSocket(BankConformance):
    """A server in this process, over a Unix socket."""

    @pytest.fixture
    def bank(self, tmp_path: Path) -> Iterator[carls.Bank]:
        engine = Engine()
        with BankServer(engine, unix=str(tmp_path / "bank")) as server, carls.connect(server.url) as bank:
            yield bank
        engine.close()
