"""Random operations against the plain-dict oracle, in process and through a server."""

from __future__ import annotations

import atexit

import carls
from carls.bank import Engine
from carls.service import BankServer
from carls.testing import bank_machine

TestInProcess = bank_machine(lambda: carls.connect(producer="tester")).TestCase

_servers: list[BankServer] = []


def _connect() -> carls.Bank:
    """A connection to one server for all runs, started with the first of them."""
    if not _servers:
        _servers.append(BankServer(Engine()))
        atexit.register(_servers[0].close)
    return carls.connect(_servers[0].url, producer="tester")


TestThroughAServer = bank_machine(_connect, examples=30).TestCase
