"""A unary call of Python gRPC with ready bytes: the yardstick of whoever would write a server by hand.

No protobuf: generic handlers pass bytes through. The server does nothing with what it gets, but
for a push it copies the matrix to an array, as the fair echo does.
"""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from carls.cli.bench.process import serving

#: Bytes of a key on the way up.
KEY_BYTES = 16

_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_READY = re.compile(rb"gRPC echo at (\S+)")
_SERVICE = "carls.Echo"


class GrpcEchoClient:
    """A channel to a gRPC echo server. A context manager.

    Args:
        target: of the server, in gRPC's form.
        batch: keys of a call.
        dim: elements of a row.
    """

    def __init__(self, target: str, batch: int, dim: int) -> None:
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._lookup = self._channel.unary_unary(f"/{_SERVICE}/lookup{batch}x{dim}")
        self._push = self._channel.unary_unary(f"/{_SERVICE}/push{batch}x{dim}")
        self._keys = bytes(KEY_BYTES * batch)
        self._dim = dim

    def lookup(self) -> Any:
        """Send ready bytes for the keys, and copy the reply to an array (batch, dim) float32."""
        return np.frombuffer(self._lookup(self._keys), np.float32).copy().reshape(-1, self._dim)

    def push(self, gradients: Any) -> None:
        """Send ready bytes for the keys, and a matrix (batch, dim) float32."""
        self._push(b"".join((self._keys, gradients.data)))

    def __enter__(self) -> GrpcEchoClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The method's name says what to do: lookupNxDIM or pushNxDIM."""

    def __init__(self) -> None:
        self._ready: dict[str, Any] = {}

    def service(self, call: Any) -> Any:
        method = call.method
        if method not in self._ready:
            self._ready[method] = grpc.unary_unary_rpc_method_handler(_answer(method))
        return self._ready[method]


def _answer(method: str) -> Any:
    verb, batch, dim = re.fullmatch(rf"/{_SERVICE}/([a-z]+)(\d+)x(\d+)", method).groups()  # type: ignore[union-attr]
    if verb == "lookup":
        reply = bytes(int(batch) * int(dim) * 4)
        return lambda _request, _context: reply
    start = KEY_BYTES * int(batch)

    def copy(request: bytes, _context: Any) -> bytes:
        np.frombuffer(request, np.float32, offset=start).copy()
        return b""

    return copy


def grpc_echo_process(address: str = "127.0.0.1:0") -> AbstractContextManager[str]:
    """Target of a gRPC echo server in a process of its own, at `address` (host:port or unix:path)."""
    return serving([sys.executable, "-m", "benchmarks.grpc_echo", address], _READY)


def main() -> None:
    """Serve at the address given as argument until standard input ends; prints the target first."""
    address = sys.argv[1]
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Handler()], options=_OPTIONS)
    port = server.add_insecure_port(address)
    server.start()
    print(f"gRPC echo at {address if address.startswith('unix:') else f'127.0.0.1:{port}'}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
