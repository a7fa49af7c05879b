"""The yardsticks of remote calls: Flight exchanges that move the same columns and have no table.

The fair echo does what no bank could leave out: it allocates a fresh reply with values and
metadata for each look-up, and copies the matrix of a push to an array that can be used. The hot
echo does not even that: it sends one prebuilt reply of values, and drops what is pushed.
"""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

from carls.cli.bench.process import serving
from carls.messages import ROW_META

_READY = re.compile(rb"echo at (\S+)")


class EchoServer(fl.FlightServerBase):  # type: ignore[misc]
    """Answers every batch; the command of the exchange says how.

    "fair lookup DIM": values and metadata for each key, allocated now. "hot lookup DIM N": one
    prebuilt reply of values for N keys. "fair push": copies the matrix, answers with no rows.
    "hot push": answers with no rows.
    """

    def do_exchange(self, _context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        kind, verb, *sizes = descriptor.command.decode().split()
        reply = pa.record_batch([pa.array([], pa.int8())], names=["done"])
        if (kind, verb) == ("hot", "lookup"):
            reply = _values(int(sizes[0]), int(sizes[1]))
        begun = False
        while True:
            try:
                batch = reader.read_chunk().data
            except StopIteration:
                return
            if (kind, verb) == ("fair", "lookup"):
                reply = _values(int(sizes[0]), batch.num_rows, with_meta=True)
            elif kind == "fair":
                _matrix(batch.column(1))
            if not begun:
                writer.begin(reply.schema)
                begun = True
            writer.write_batch(reply)


def _values(dim: int, rows: int, *, with_meta: bool = False) -> pa.RecordBatch:
    columns = {"values": _fixed(np.empty((rows, dim), np.float32))}
    if with_meta:
        columns["meta"] = pa.Array.from_buffers(
            pa.binary(ROW_META.itemsize),
            rows,
            [None, pa.py_buffer(np.empty(rows * ROW_META.itemsize, np.uint8))],
        )
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _array(buffer: pa.Buffer) -> Any:
    """The bytes as an array of their own: received ones lie at odd addresses and cannot be written to."""
    return np.frombuffer(buffer, np.uint8).copy()


def _matrix(column: pa.Array) -> Any:
    return _array(column.values.buffers()[1]).view(np.float32).reshape(len(column), -1)


def _fixed(matrix: Any) -> pa.Array:
    rows, dim = matrix.shape
    items = pa.Array.from_buffers(pa.float32(), rows * dim, [None, pa.py_buffer(matrix)])
    return pa.FixedSizeListArray.from_arrays(items, dim)


def lookup_request(keys: list[str]) -> pa.RecordBatch:
    """A list of keys, encoded."""
    return pa.record_batch([pa.array(keys, pa.string())], names=["keys"])


def push_request(keys: list[str], gradients: Any) -> pa.RecordBatch:
    """A list of keys and a matrix (n, dim) float32, encoded."""
    return pa.record_batch([pa.array(keys, pa.string()), _fixed(gradients)], names=["keys", "values"])


class EchoClient:
    """One open exchange with an echo server. A context manager.

    Args:
        url: of the server.
        command: see `EchoServer`.
    """

    def __init__(self, url: str, command: str) -> None:
        self._client = fl.FlightClient(url)
        self._writer, self._reader = self._client.do_exchange(
            fl.FlightDescriptor.for_command(command.encode())
        )
        self._begun = False

    def exchange(self, request: pa.RecordBatch) -> pa.RecordBatch:
        """Send a batch, wait for the reply."""
        if not self._begun:
            self._writer.begin(request.schema)
            self._begun = True
        self._writer.write_batch(request)
        return self._reader.read_chunk().data

    def lookup(self, request: pa.RecordBatch) -> Any:
        """Exchange, and decode values (and metadata, else None) to arrays that one can use."""
        reply = self.exchange(request)
        meta = _array(reply.column(1).buffers()[1]).view(ROW_META) if reply.num_columns > 1 else None
        return _matrix(reply.column(0)), meta

    def __enter__(self) -> EchoClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._client.close()


def echo_process(location: str = "grpc://127.0.0.1:0") -> AbstractContextManager[str]:
    """URL of an echo server in a process of its own, at `location` (grpc:// or grpc+unix://)."""
    program = "from carls.cli.bench.echo import main; main()"
    return serving([sys.executable, "-c", program, location], _READY)


def main() -> None:
    """Serve at the location given as argument until standard input ends; prints the URL first."""
    location = sys.argv[1]
    server = EchoServer(location)
    url = location if location.startswith("grpc+unix:") else f"grpc://127.0.0.1:{server.port}"
    print(f"echo at {url}", flush=True)
    sys.stdin.read()
