"""Look-ups and pushes through a server: against exchanges of the same bytes without a table.

Over loopback TCP and over a Unix socket, one client thread, servers in processes of their own.
String keys, given as a list and as `carls.Keys` encoded before. The yardsticks:

* fair echo: a Flight exchange that encodes the same list, allocates a fresh reply of the same
  columns (values, and 32 bytes of metadata a row) and decodes it to usable arrays. For a push,
  the server copies the matrix to a usable array.
* hot echo: a prebuilt reply of values alone; the keys encoded from the list, or a ready batch.
  For a push, the server drops the matrix.
* gRPC echo: a unary call of Python gRPC, ready bytes both ways, no protobuf.

Then the same calls with `wire_dtype="float16"` and to a float16 table, against those in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import typer

import carls
from benchmarks.command import command
from benchmarks.comparison import Comparison, versions
from benchmarks.grpc_echo import GrpcEchoClient, grpc_echo_process
from benchmarks.plan import Distribution, Plan
from benchmarks.tables import Matrix, fill, string_keys, weights
from carls.cli.bench.cases import Cases
from carls.cli.bench.echo import EchoClient, echo_process, lookup_request, push_request
from carls.service.process import BankProcess

Tables: TypeAlias = dict[str, carls.EmbeddingTable]

FULL = Plan((Distribution.UNIFORM,), batch=(1024, 1, 16, 128, 8192), dim=(64,), rows=100_000, calls=200)


class Servers:
    """A bank and the echo servers, all over one kind of socket. A context manager.

    Args:
        socket: "tcp" or "unix".
    """

    def __init__(self, socket: str) -> None:
        self._stack = ExitStack()
        try:
            self._start(socket)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, socket: str) -> None:
        enter = self._stack.enter_context
        if socket == "tcp":
            server = enter(BankProcess())
            self.echo, self.grpc_echo = enter(echo_process()), enter(grpc_echo_process())
        else:
            folder = Path(enter(TemporaryDirectory(prefix="carls-")))
            server = enter(BankProcess(("--unix", str(folder / "bank"))))
            self.echo = enter(echo_process(f"grpc+unix://{folder / 'echo'}"))
            self.grpc_echo = enter(grpc_echo_process(f"unix:{folder / 'grpc'}"))
        self.bank = enter(carls.connect(server.url))

    def table(
        self, rows: int, dim: int, dtype: str = "float32", wire_dtype: str = "float32"
    ) -> carls.EmbeddingTable:
        """A table with Adagrad and `rows` rows under string keys."""
        name, adagrad = f"{dtype} dim{dim} {wire_dtype}".replace(" ", "-"), carls.Adagrad(lr=0.01)
        table = self.bank.embeddings(name, dim, dtype, optimizer=adagrad, wire_dtype=wire_dtype)
        fill(table, string_keys(rows), weights(rows, dim))
        return table

    def tables(self, table: carls.EmbeddingTable, rows: int) -> Tables:
        """`table`, and others of the same rows, by what of them is float16."""
        return {
            "float16 table": self.table(rows, table.dim, "float16"),
            "float16 wire": self.table(rows, table.dim, "float32", "float16"),
            "float32": table,
        }

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def lookups(
    servers: Servers, table: carls.EmbeddingTable, lists: list[list[str]], clients: ExitStack
) -> Cases:
    """Look-ups of each list of keys in turn. The echoes' connections end with `clients`."""
    batch, n = len(lists[0]), len(lists)
    fair = clients.enter_context(EchoClient(servers.echo, f"fair lookup {table.dim}"))
    hot = clients.enter_context(EchoClient(servers.echo, f"hot lookup {table.dim} {batch}"))
    unary = clients.enter_context(GrpcEchoClient(servers.grpc_echo, batch, table.dim))
    encoded = [carls.Keys.of(keys) for keys in lists]
    ready = [lookup_request(keys) for keys in lists]
    return {
        "carls, list": lambda i: table.lookup(lists[i % n]).values,
        "carls, Keys": lambda i: table.lookup(encoded[i % n]).values,
        "fair echo, list": lambda i: fair.lookup(lookup_request(lists[i % n]))[0],
        "hot echo, list": lambda i: hot.lookup(lookup_request(lists[i % n]))[0],
        "hot echo, ready batch": lambda i: hot.lookup(ready[i % n])[0],
        "gRPC echo, ready bytes": lambda _: unary.lookup(),
    }


def pushes(
    servers: Servers,
    table: carls.EmbeddingTable,
    lists: list[list[str]],
    gradients: Matrix,
    clients: ExitStack,
) -> Cases:
    """Pushes of `gradients` (batch, dim) to each list of keys in turn, each awaited."""
    batch, n = len(lists[0]), len(lists)
    fair = clients.enter_context(EchoClient(servers.echo, "fair push"))
    hot = clients.enter_context(EchoClient(servers.echo, "hot push"))
    unary = clients.enter_context(GrpcEchoClient(servers.grpc_echo, batch, table.dim))
    encoded = [carls.Keys.of(keys) for keys in lists]
    ready = [push_request(keys, gradients) for keys in lists]
    return {
        "carls, list": lambda i: table.push_gradients(lists[i % n], gradients),
        "carls, Keys": lambda i: table.push_gradients(encoded[i % n], gradients),
        "fair echo, list": lambda i: fair.exchange(push_request(lists[i % n], gradients)),
        "hot echo, list": lambda i: hot.exchange(push_request(lists[i % n], gradients)),
        "hot echo, ready batch": lambda i: hot.exchange(ready[i % n]),
        "gRPC echo, ready bytes": lambda _: unary.push(gradients),
    }


def dtypes(tables: Tables, lists: list[list[str]], gradients: Matrix) -> tuple[Cases, Cases]:
    """Look-ups and pushes of encoded keys, by what is float16. Gradients have the table's dtype."""
    encoded, n = [carls.Keys.of(keys) for keys in lists], len(lists)

    def lookup(table: carls.EmbeddingTable) -> Callable[[int], object]:
        return lambda i: table.lookup(encoded[i % n]).values

    def push(table: carls.EmbeddingTable) -> Callable[[int], object]:
        given = gradients.astype(table.spec.dtype)
        return lambda i: table.push_gradients(encoded[i % n], given)

    return (
        {name: lookup(table) for name, table in tables.items()},
        {name: push(table) for name, table in tables.items()},
    )


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """Look-ups and pushes for each kind of socket, dim, distribution and batch."""
    names = string_keys(plan.rows)
    for socket in ("tcp", "unix"):
        with Servers(socket) as servers:
            for dim in plan.dim:
                table = servers.table(plan.rows, dim)
                tables = servers.tables(table, plan.rows)
                for title, batch, picks in plan.draws(dim):
                    lists = [[names[place] for place in pick] for pick in picks]
                    with ExitStack() as clients:
                        cases = lookups(servers, table, lists, clients)
                        yield Comparison(f"look-up over {socket}, {title}", batch, cases, ours=2)
                    with ExitStack() as clients:
                        cases = pushes(servers, table, lists, weights(batch, dim), clients)
                        yield Comparison(f"push over {socket}, {title}", batch, cases, ours=2)
                    looked_up, pushed = dtypes(tables, lists, weights(batch, dim))
                    yield Comparison(f"dtypes of look-ups over {socket}, {title}", batch, looked_up, ours=2)
                    yield Comparison(f"dtypes of pushes over {socket}, {title}", batch, pushed, ours=2)


main = command(
    "remote",
    "Time look-ups and pushes through a server against exchanges without a table.",
    FULL,
    comparisons,
    lambda: versions("pyarrow", "grpcio"),
)


if __name__ == "__main__":
    typer.run(main)
