"""What is timed: look-ups and pushes in process and through a server, each with its yardstick."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import carls
from carls.cli.bench.echo import EchoClient, echo_process, lookup_request, push_request
from carls.service.process import BankProcess

Cases = dict[str, Callable[[int], Any]]

#: Batches of keys that calls take in turn: enough that rows do not stay in the processor's cache.
BATCHES = 200
_FILL = 8192


def local_lookup(rows: int, dim: int, batch: int) -> Iterator[Cases]:
    """In process, int64 keys, one thread; against torch's embedding on ready indices."""
    with carls.connect() as bank:
        table = bank.embeddings("bench", dim=dim)
        _fill(table, np.arange(rows) * 7919)
        picks = _picks(rows, batch)
        batches = [pick * 7919 for pick in picks]
        cases: Cases = {"in process": lambda i: table.lookup(batches[i % BATCHES])}
        if importlib.util.find_spec("torch"):
            import torch

            torch.set_num_threads(1)
            weight = torch.zeros(rows, dim).normal_()
            indices = [torch.from_numpy(pick) for pick in picks]
            embedding = torch.nn.functional.embedding
            cases["torch embedding"] = lambda i: embedding(indices[i % BATCHES], weight)
        yield cases


def local_push(rows: int, dim: int, batch: int) -> Iterator[Cases]:
    """In process, Adagrad, int64 keys, one thread; against torch's sparse Adagrad step."""
    gradients = np.random.default_rng(1).standard_normal((batch, dim)).astype(np.float32)
    with carls.connect() as bank:
        table = bank.embeddings("bench", dim=dim, optimizer=carls.Adagrad(lr=0.01))
        _fill(table, np.arange(rows) * 7919)
        picks = _picks(rows, batch)
        batches = [pick * 7919 for pick in picks]
        cases: Cases = {"in process": lambda i: table.push_gradients(batches[i % BATCHES], gradients)}
        if importlib.util.find_spec("torch"):
            import torch

            torch.set_num_threads(1)
            weight = torch.nn.Parameter(torch.zeros(rows, dim).normal_())
            optimizer = torch.optim.Adagrad([weight], lr=0.01)
            indices = [torch.from_numpy(pick)[None] for pick in picks]
            values = torch.from_numpy(gradients)

            def step(i: int) -> None:
                weight.grad = torch.sparse_coo_tensor(
                    indices[i % BATCHES], values, weight.shape, check_invariants=False
                )
                optimizer.step()

            cases["torch sparse Adagrad"] = step
        yield cases


def remote_lookup(url: str | None, rows: int, dim: int, batch: int) -> Iterator[Cases]:
    """Through a server, string keys given as a list; against bare exchanges of the same columns."""
    with (
        _remote_table(url, dim, None) as table,
        echo_process() as echo,
        EchoClient(echo, f"fair lookup {dim}") as fair,
        EchoClient(echo, f"hot lookup {dim} {batch}") as hot,
    ):
        names = _names(rows)
        _fill(table, names)
        batches = [[names[j] for j in pick] for pick in _picks(rows, batch)]
        encoded = [carls.Keys.of(keys) for keys in batches]
        yield {
            "remote": lambda i: table.lookup(batches[i % BATCHES]),
            "remote, keys encoded": lambda i: table.lookup(encoded[i % BATCHES]),
            "fair echo": lambda i: fair.lookup(lookup_request(batches[i % BATCHES])),
            "hot echo": lambda i: hot.lookup(lookup_request(batches[i % BATCHES])),
        }


def remote_push(url: str | None, rows: int, dim: int, batch: int) -> Iterator[Cases]:
    """Through a server, Adagrad, string keys given as a list; against bare exchanges."""
    gradients = np.random.default_rng(1).standard_normal((batch, dim)).astype(np.float32)
    with (
        _remote_table(url, dim, carls.Adagrad(lr=0.01)) as table,
        echo_process() as echo,
        EchoClient(echo, "fair push") as fair,
        EchoClient(echo, "hot push") as hot,
    ):
        names = _names(rows)
        _fill(table, names)
        batches = [[names[j] for j in pick] for pick in _picks(rows, batch)]
        yield {
            "remote": lambda i: table.push_gradients(batches[i % BATCHES], gradients),
            "fair echo": lambda i: fair.exchange(push_request(batches[i % BATCHES], gradients)),
            "hot echo": lambda i: hot.exchange(push_request(batches[i % BATCHES], gradients)),
        }


def _names(rows: int) -> list[str]:
    return [f"item/{i:08d}" for i in range(rows)]


def _picks(rows: int, batch: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, rows, batch) for _ in range(BATCHES)]


def _fill(table: carls.EmbeddingTable, keys: Any) -> None:
    for start in range(0, len(keys), _FILL):
        table.lookup(keys[start : start + _FILL])


@contextmanager
def _remote_table(
    url: str | None, dim: int, optimizer: carls.Optimizer | None
) -> Iterator[carls.EmbeddingTable]:
    """A table of its own in the bank at `url`, or in a server started for it; dropped at the end."""
    if url is None:
        with BankProcess() as server, _remote_table(server.url, dim, optimizer) as table:
            yield table
        return
    with carls.connect(url) as bank:
        name = f"bench-{os.urandom(4).hex()}"
        try:
            yield bank.embeddings(name, dim=dim, optimizer=optimizer)
        finally:
            bank.drop(name)
