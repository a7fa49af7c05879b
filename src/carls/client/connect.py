"""`connect` finds a bank."""

from __future__ import annotations

import os
import socket

from carls.bank.checks import check_producer
from carls.client.arguments import seconds
from carls.client.bank import Bank
from carls.client.local import LocalTransport
from carls.client.transport import Transport
from carls.errors import InvalidRequestError, NotInThisVersionError

#: Seconds that a call may take unless it says otherwise.
DEFAULT_TIMEOUT_S = 10.0

_LATER = {
    "file": "durable banks",
    "ray": "banks on a Ray cluster",
    "grpc+tls": "TLS",
}


def connect(
    url: str | None = None, *, producer: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Bank:
    """Connect to a bank.

    Args:
        url: None or "memory://" for a new bank in this process, in memory; "grpc://host:port"
            (port 7070 if none is given) or "grpc+unix:///path" for a bank server.
        producer: the name that writes carry, and under which look-ups are counted; default
            "host/process id".
        timeout_s: deadline of calls that name none, in seconds.

    Returns:
        A `Bank`; close it, or use it in a `with` block.

    Raises:
        InvalidRequestError: a URL of another kind.
        NotInThisVersionError: a kind of bank that is planned.
        UnavailableError: nobody answers there.
    """
    deadline = seconds("timeout_s", timeout_s)
    name = check_producer(f"{socket.gethostname()}/{os.getpid()}" if producer is None else producer)
    transport = _transport("memory://" if url is None else url)
    try:
        return Bank(transport, name, deadline)
    except BaseException:
        transport.close()
        raise


def reconnect(url: str, producer: str, timeout_s: float) -> Bank:
    """What a bank that was sent to another process becomes there."""
    return connect(url, producer=producer, timeout_s=timeout_s)


def _transport(url: str) -> Transport:
    if not isinstance(url, str):
        raise InvalidRequestError(f"bank URL {url!r:.80}: expected a str such as 'grpc://host:port'")
    scheme = url.split("://")[0]
    if url == "memory://":
        return LocalTransport()
    if scheme in _LATER:
        raise NotInThisVersionError(f"{url}: {_LATER[scheme]} are not in this version; use grpc://host:port")
    if scheme == "grpc" and "," in url:
        raise NotInThisVersionError(
            f"{url}: rows spread over servers are not in this version; name one server"
        )
    if scheme in ("grpc", "grpc+unix"):
        from carls.client.flight import FlightTransport

        return FlightTransport(url)
    raise InvalidRequestError(f"bank URL {url!r}: expected memory://, grpc://host:port or grpc+unix:///path")
