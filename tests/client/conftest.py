"""Servers in this process, transports to them, and wires between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from carls.client.flight import FlightTransport
from doubles import Held, Wire


@pytest.fixture
def wire() -> Iterator[Callable[[str], Wire]]:
    """Puts a wire before a server's URL."""
    wires: list[Wire] = []

    def lay(url: str) -> Wire:
        wires.append(Wire(int(url.rpartition(":")[2])))
        return wires[-1]

    yield lay
    for laid in wires:
        laid.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., FlightTransport]]:
    """Makes transports; they are closed in the end."""
    transports: list[FlightTransport] = []

    def start(url: str, **options: Any) -> FlightTransport:
        transports.append(FlightTransport(url, **options))
        return transports[-1]

    yield start
    for transport in transports:
        transport.close()


@pytest.fixture
def held() -> Any:
    answer = Held()
    yield answer
    answer.let_go.set()
