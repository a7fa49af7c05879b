"""Rows per second against a Redis server, over loopback TCP, string keys as a list.

Rows are raw float32 vectors in Redis: MGET of a batch, decoded to an array (batch, dim) by one
join; SET of each row in one pipeline, and MSET. redis-py with the parser and packer of hiredis,
and with those in Python; neither side writes to disk. The bank assigns, which is what SET does.

Needs `redis-server` (Debian's package of that name), which is installed where it is missing and
this may be done.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import redis
import typer
from redis._parsers import _HiredisParser, _RESP2Parser
from redis.connection import Connection, ConnectionPool, HiredisRespSerializer, PythonRespSerializer

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.plan import Distribution, Plan
from benchmarks.tables import Matrix, fill, string_keys, weights
from carls.cli.bench.cases import Cases
from carls.cli.bench.process import serving
from carls.errors import UnavailableError
from carls.service.process import BankProcess

FULL = Plan((Distribution.UNIFORM,), batch=(1024, 1, 128), dim=(64,), rows=100_000, calls=200)

_FILL = 8192
_READY = re.compile(rb"(Ready to accept connections)")
_INSTALL = "apt-get install -y -qq --no-install-recommends redis-server"


class HiredisConnection(Connection):
    """Parses and packs with hiredis."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(parser_class=_HiredisParser, command_packer=HiredisRespSerializer(), **arguments)


class PythonConnection(Connection):
    """Parses and packs in Python."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(parser_class=_RESP2Parser, **arguments)
        self._command_packer = PythonRespSerializer(self._buffer_cutoff, self.encoder.encode)


CONNECTIONS = {"hiredis": HiredisConnection, "Python parser": PythonConnection}


class RedisRows:
    """Rows in Redis: a raw float32 vector under each key.

    Args:
        port: of the server at 127.0.0.1.
        dim: elements of a row.
        connection: class of the connection.
    """

    def __init__(self, port: int, dim: int, connection: type[Connection]) -> None:
        pool = ConnectionPool(connection_class=connection, host="127.0.0.1", port=port, protocol=2)
        self.client = redis.Redis(connection_pool=pool)
        self._dim = dim

    def lookup(self, keys: list[str]) -> Matrix:
        """(n, dim) float32."""
        values: Any = self.client.mget(keys)
        return np.frombuffer(b"".join(values), np.float32).reshape(-1, self._dim)

    def assign_by_set(self, keys: list[str], values: Matrix) -> None:
        """A SET for each row, in one pipeline without a transaction."""
        with self.client.pipeline(transaction=False) as pipeline:
            for key, row in zip(keys, self._raw(values), strict=True):
                pipeline.set(key, row)
            pipeline.execute()

    def assign_by_mset(self, keys: list[str], values: Matrix) -> None:
        """One MSET of all rows."""
        self.client.mset(dict(zip(keys, self._raw(values), strict=True)))

    def used(self) -> tuple[str, str]:
        """Names of the classes that parse and pack on a connection of the pool."""
        connection = self.client.connection_pool.get_connection()
        try:
            return type(connection._parser).__name__, type(connection._command_packer).__name__
        finally:
            self.client.connection_pool.release(connection)

    def close(self) -> None:
        """Close the connections."""
        self.client.connection_pool.disconnect()

    def _raw(self, values: Matrix) -> list[bytes]:
        raw, size = values.tobytes(), 4 * self._dim
        return [raw[start : start + size] for start in range(0, len(raw), size)]


def server_program() -> str:
    """Path of redis-server, which is installed if it is missing.

    Raises:
        UnavailableError: it is missing and could not be installed; says how to.
    """
    found = shutil.which("redis-server")
    apt = shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        # At run level 1 Debian starts no services of new packages.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (f"{apt} update -qq", _INSTALL):
            subprocess.run(command.split(), env=env, stdout=subprocess.DEVNULL, timeout=300, check=False)
        found = shutil.which("redis-server")
    if found is None:
        raise UnavailableError(f"redis-server is not installed: run `{_INSTALL}` as root")
    return found


@contextmanager
def redis_process() -> Iterator[int]:
    """Port of a Redis server at 127.0.0.1 that keeps nothing on disk, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "daemonize": "no"}
    with TemporaryDirectory(prefix="carls-redis-") as folder:
        command = [server_program(), "--dir", folder]
        for name, value in settings.items():
            command += [f"--{name}", str(value)]
        with serving(command, _READY):
            yield port


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """Look-ups and writes for each dim, distribution and batch."""
    names = string_keys(plan.rows)
    for dim in plan.dim:
        weight = weights(plan.rows, dim)
        with BankProcess() as server, carls.connect(server.url) as bank, redis_process() as port:
            table = bank.embeddings("bench", dim=dim)
            fill(table, names, weight)
            stores = {name: RedisRows(port, dim, connection) for name, connection in CONNECTIONS.items()}
            for start in range(0, plan.rows, _FILL):
                part = slice(start, start + _FILL)
                stores["hiredis"].assign_by_mset(names[part], weight[part])
            for title, batch, picks in plan.draws(dim):
                lists = [[names[place] for place in pick] for pick in picks]
                yield Comparison(f"look-up, {title}", batch, lookups(table, stores, lists))
                values = weights(batch, dim)
                yield Comparison(f"write, {title}", batch, writes(table, stores, lists, values))
            for store in stores.values():
                store.close()


def lookups(table: carls.EmbeddingTable, stores: dict[str, RedisRows], lists: list[list[str]]) -> Cases:
    """Look-ups of each list of keys in turn."""
    n = len(lists)
    cases: Cases = {"carls": lambda i: table.lookup(lists[i % n]).values}
    for name, store in stores.items():
        cases[f"Redis MGET, {name}"] = lambda i, store=store: store.lookup(lists[i % n])  # type: ignore[misc]
    return cases


def writes(
    table: carls.EmbeddingTable, stores: dict[str, RedisRows], lists: list[list[str]], values: Matrix
) -> Cases:
    """Writes of `values` (batch, dim) under each list of keys in turn."""
    n = len(lists)
    cases: Cases = {"carls": lambda i: table.assign(lists[i % n], values)}
    for name, store in stores.items():
        for how, write in (("SET pipeline", store.assign_by_set), ("MSET", store.assign_by_mset)):
            cases[f"Redis {how}, {name}"] = lambda i, write=write: write(lists[i % n], values)  # type: ignore[misc]
    return cases


def compared_versions() -> dict[str, str]:
    """Versions of the server and its clients."""
    said = subprocess.run([server_program(), "--version"], capture_output=True, text=True, check=True).stdout
    return {**versions("redis", "hiredis"), "redis-server": said.split("v=")[1].split()[0]}


main = command(
    "redis_server",
    "Time look-ups and writes over loopback TCP against a Redis server.",
    FULL,
    comparisons,
    compared_versions,
)


if __name__ == "__main__":
    typer.run(main)
