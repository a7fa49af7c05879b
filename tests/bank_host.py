"""Banks in another process, one after another, without starting a process for each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType

from carls.bank import Engine
from carls.service import BankServer

#: Longest wait for the other process, in seconds; one that is gone is noticed at once.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class HostedBank:
    """Where clients of a hosted bank connect."""

    url: str


class BankHost:
    """A process that serves new, empty banks when asked, each by an engine and a server of its own.

    For tests that want a bank in another process and do nothing to that process. A test that ends or
    kills its bank starts a `carls.service.BankProcess`, which takes longer than all the rest of a short test.
    """

    def __init__(self) -> None:
        self._orders, orders = Pipe()
        with orders:  # here; its end is then that of the process
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(orders.fileno())], pass_fds=[orders.fileno()]
            )

    @contextmanager
    def bank(self) -> Iterator[HostedBank]:
        """A new bank, which is gone in the end."""
        self._orders.send("open")
        bank = HostedBank(self._answer())
        try:
            yield bank
        finally:
            self._orders.send("close")
            self._answer()

    def __enter__(self) -> BankHost:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._orders.close()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> str:
        assert self._orders.poll(PATIENCE_S), f"the host of banks said nothing for {PATIENCE_S:g} s"
        return str(self._orders.recv())


def _host(orders: Connection) -> None:
    while _next(orders) == "open":
        engine = Engine()
        with BankServer(engine) as server:
            orders.send(server.url)
            _next(orders)
        engine.close()
        orders.send("closed")


def _next(orders: Connection) -> str:
    try:
        return str(orders.recv())
    except EOFError:
        return "the owner is gone"


if __name__ == "__main__":
    _host(Connection(int(sys.argv[1])))
