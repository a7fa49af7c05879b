"""Two trainers of one network: embeddings in the process, and embeddings in a bank.

The network is a row of `dim` floats through two hidden layers to one logit; the loss is binary
cross-entropy with labels that do not change. Dense parameters are trained by Adam on both sides,
rows by Adagrad.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import carls
from benchmarks.plan import Indices
from benchmarks.staleness import Staleness
from carls.torch import DynamicEmbedding

LR = 0.05


class Batches(NamedTuple):
    """Keys (batch,) int64 of row numbers and labels (batch,), for steps in turn."""

    keys: list[torch.Tensor]
    labels: torch.Tensor

    @staticmethod
    def of(picks: list[Indices]) -> Batches:
        """Batches of the rows at `picks`."""
        labels = torch.from_numpy(np.random.default_rng(2).integers(0, 2, len(picks[0]))).float()
        return Batches([torch.from_numpy(pick) for pick in picks], labels)

    def of_step(self, step: int) -> torch.Tensor:
        """Keys of a step."""
        return self.keys[step % len(self.keys)]


class Phases:
    """Where the time of steps went.

    Attributes:
        seconds: of each step, by phase.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._last = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._last = time.perf_counter()

    def end(self, phase: str) -> None:
        """A phase ends, and the next one begins."""
        now = time.perf_counter()
        self.seconds[phase].append(now - self._last)
        self._last = now


class Network(nn.Module):
    """The dense part, with the same first parameters at each start."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of rows (batch, dim)."""
        return nn.functional.binary_cross_entropy_with_logits(self.layers(rows).squeeze(1), labels)


class LocalTrainer:
    """`nn.Embedding(sparse=True)` and sparse Adagrad.

    Args:
        weight: (rows, dim) float32, is copied.
        hidden: width of the hidden layers.
        batches: of the steps.
    """

    name = "local"

    def __init__(self, weight: Any, hidden: int, batches: Batches) -> None:
        self.phases = Phases()
        rows, dim = weight.shape
        self.embedding = nn.Embedding(rows, dim, sparse=True, _weight=torch.from_numpy(weight.copy()))
        self.network = Network(dim, hidden)
        self._batches = batches
        self._sparse = torch.optim.Adagrad(self.embedding.parameters(), lr=LR)
        self._dense = torch.optim.Adam(self.network.parameters())

    def start(self) -> None:
        """Nothing to prepare."""

    def step(self, step: int) -> None:
        """One step."""
        phases = self.phases
        phases.begin()
        rows = self.embedding(self._batches.of_step(step))
        phases.end("rows")
        loss = self.network(rows, self._batches.labels)
        phases.end("forward")
        self._sparse.zero_grad()
        self._dense.zero_grad()
        loss.backward()
        phases.end("backward")
        self._sparse.step()
        phases.end("sparse optimizer")
        self._dense.step()
        phases.end("dense optimizer")

    def look(self, step: int) -> None:
        """Local rows miss nothing."""

    def finish(self) -> None:
        """Nothing is under way."""


class BankTrainer:
    """`DynamicEmbedding` with the next batch's rows fetched ahead; pushes leave in the background.

    Args:
        table: handle with the rows, with Adagrad.
        rows: of the table, keys 0 to rows - 1.
        hidden: width of the hidden layers.
        batches: of the steps.

    Attributes:
        staleness: what the rows of all steps had missed.
    """

    name = "carls"

    def __init__(self, table: carls.EmbeddingTable, rows: int, hidden: int, batches: Batches) -> None:
        self.phases = Phases()
        self.staleness = Staleness(rows)
        self.embedding = DynamicEmbedding(table)
        self.network = Network(table.dim, hidden)
        self._batches = batches
        self._dense = torch.optim.Adam(self.network.parameters())

    def start(self) -> None:
        """Fetch the rows of step 0 ahead."""
        self.embedding.prefetch(self._batches.of_step(0))

    def step(self, step: int) -> None:
        """One step."""
        phases, embedding = self.phases, self.embedding
        phases.begin()
        embedding.step = step
        rows = embedding(self._batches.of_step(step))
        phases.end("rows")
        embedding.prefetch(self._batches.of_step(step + 1))
        phases.end("prefetch")
        loss = self.network(rows, self._batches.labels)
        phases.end("forward")
        self._dense.zero_grad()
        loss.backward()
        phases.end("backward")
        self._dense.step()
        phases.end("dense optimizer")

    def look(self, step: int) -> None:
        """Note what the rows of the step had missed. To be called after each step."""
        keys, rows = self.embedding.last_keys, self.embedding.last_rows
        assert keys is not None
        assert keys.integers is not None
        assert rows is not None
        self.staleness.add(step, keys.integers, rows)

    def finish(self) -> None:
        """Wait until all pushes are applied."""
        self.embedding.flush()


Trainer = LocalTrainer | BankTrainer
