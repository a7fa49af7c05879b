"""The yardstick of a remote call: Flight exchanges that move the same columns and do nothing else."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl

from carls.messages import ROW_META


class EchoServer(fl.FlightServerBase):  # type: ignore[misc]
    """Answers every batch.

    The command says how: "fair DIM" allocates values and metadata for each key of the request,
    "hot DIM N" sends one prebuilt reply of values alone, "push" answers with no columns.
    """

    def do_exchange(self, _context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        kind, *sizes = descriptor.command.decode().split()
        reply = pa.record_batch([pa.array([], pa.int8())], names=["done"])
        if kind == "hot":
            reply = _values(int(sizes[0]), int(sizes[1]))
        begun = False
        while True:
            try:
                batch = reader.read_chunk().data
            except StopIteration:
                return
            if kind == "fair":
                reply = _values(int(sizes[0]), batch.num_rows, with_meta=True)
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


def _fixed(matrix: Any) -> pa.Array:
    rows, dim = matrix.shape
    items = pa.Array.from_buffers(pa.float32(), rows * dim, [None, pa.py_buffer(matrix)])
    return pa.FixedSizeListArray.from_arrays(items, dim)


class EchoClient:
    """One open exchange with an echo server."""

    def __init__(self, url: str, command: str) -> None:
        self._client = fl.FlightClient(url)
        self._writer, self._reader = self._client.do_exchange(
            fl.FlightDescriptor.for_command(command.encode())
        )
        self._begun = False

    def exchange(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Send a batch, wait for the reply."""
        if not self._begun:
            self._writer.begin(batch.schema)
            self._begun = True
        self._writer.write_batch(batch)
        return self._reader.read_chunk().data

    def lookup(self, keys: list[str]) -> Any:
        """Encode a list of keys, exchange, decode values (and metadata) to arrays that one can use."""
        reply = self.exchange(pa.record_batch([pa.array(keys, pa.string())], names=["keys"]))
        dim = reply.schema.field("values").type.list_size
        values = _array(reply.column(0).values.buffers()[1]).view(np.float32).reshape(-1, dim)
        meta = _array(reply.column(1).buffers()[1]).view(ROW_META) if reply.num_columns > 1 else None
        return values, meta

    def push(self, keys: list[str], gradients: Any) -> None:
        """Encode a list of keys and a matrix, exchange."""
        self.exchange(
            pa.record_batch([pa.array(keys, pa.string()), _fixed(gradients)], names=["keys", "values"])
        )

    def close(self) -> None:
        """End the exchange."""
        self._writer.close()
        self._client.close()


def main() -> None:
    """Serve until the parent closes standard input; prints the URL first."""
    server = EchoServer("grpc://127.0.0.1:0")
    print(f"grpc://127.0.0.1:{server.port}", flush=True)
    sys.stdin.read()
