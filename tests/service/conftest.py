"""Servers in this process and plain Flight clients of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.flight as fl
import pytest

from carls.service import BankServer


@pytest.fixture
def connect() -> Iterator[Callable[[BankServer], Any]]:
    """Plain Flight clients; they are closed in the end."""
    clients: list[Any] = []

    def start(server: BankServer) -> Any:
        clients.append(fl.FlightClient(server.url))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
