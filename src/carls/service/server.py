"""A bank server: an engine behind an address."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from carls.errors import UnavailableError
from carls.service.addresses import check_free, check_unix_path
from carls.service.flight import FlightService, Handles
from carls.service.limits import ServiceLimits

#: How long Flight gets to say goodbye to its clients, in seconds.
_GOODBYE_S = 0.3
#: Longest wait at the end of the program for Flight to stop, in seconds.
_END_S = 2.0


class BankServer:
    """Serves an engine over Arrow Flight, in threads of its own, until it is closed.

    There is no authentication in this version: whoever reaches the address can read and write.

    Args:
        engine: anything with `handle(request)`; it belongs to the caller, who closes it.
        host: name or address to listen at.
        port: 0 takes a free one.
        unix: absolute path of a Unix socket to listen at in place of host and port; only the
            user who runs the server may connect.
        limits: what the server takes on.

    Attributes:
        url: where clients connect.

    Raises:
        UnavailableError: the address is in use.
        InvalidRequestError: it cannot be.
    """

    def __init__(
        self,
        engine: Handles,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: str | None = None,
        limits: ServiceLimits = ServiceLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._unix = unix
        self._shutdown: list[threading.Thread] = []
        # At the end of the program finalizers run newest first: clients end their streams, Flight
        # stops its server, and only then is its last thread awaited; it must not outlive Python.
        weakref.finalize(self, _await_end, self._shutdown)
        if unix is not None:
            check_unix_path(unix)
            with _private_files():
                self._flight = _listen(f"grpc+unix://{unix}", engine, limits)
            self.url = f"grpc+unix://{unix}"
        else:
            check_free(host, port)
            shown = f"[{host}]" if ":" in host else host
            self._flight = _listen(f"grpc://{shown}:{port}", engine, limits)
            self.url = f"grpc://{shown}:{self._flight.port}"

    def close(self, timeout_s: float = 5.0) -> bool:
        """Refuse new calls, answer those under way, and stop listening. A second call does nothing.

        Flight itself stops only when clients have closed their streams. Where some stay open,
        their threads stay behind, idle, until the clients close them or the process ends.

        Args:
            timeout_s: longest wait for calls under way, in seconds.

        Returns:
            Whether all calls under way were answered.
        """
        if self._shutdown:
            return True
        answered: bool = self._flight.drain(timeout_s)
        # Not joined for good, hence a daemon: Flight's shutdown waits for idle streams without end.
        shutdown = threading.Thread(
            target=self._flight.shutdown, name=f"carls-shutdown {self.url}", daemon=True
        )
        self._shutdown.append(shutdown)
        shutdown.start()
        shutdown.join(_GOODBYE_S)
        if self._unix is not None:
            with contextlib.suppress(OSError):
                Path(self._unix).unlink()
        return answered

    def __enter__(self) -> BankServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _await_end(shutdown: list[threading.Thread]) -> None:
    for thread in shutdown:
        thread.join(_END_S)


def _listen(location: str, engine: Handles, limits: ServiceLimits) -> Any:
    try:
        return FlightService(location, engine, limits)
    except (pa.ArrowException, OSError) as error:
        raise UnavailableError(f"cannot listen at {location}: {error}; choose another address") from None


@contextlib.contextmanager
def _private_files() -> Any:
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
