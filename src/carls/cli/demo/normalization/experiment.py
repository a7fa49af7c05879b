"""The experiment of `carls demo dynamic-normalization`: one network, several ways to normalise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn
from torch.nn import functional

from carls.cli.demo.fashion import Fashion, Images, foreign
from carls.client import Bank
from carls.torch import DynamicNormalization

HIDDEN = 128
CLASSES = 10
BATCH = 16
#: Two passes over the training images.
STEPS = 2500


@dataclass(frozen=True)
class Settings:
    """Settings of one case.

    Attributes:
        normalization: "dynamic", "batch norm" or "layer norm".
        learning_rate: of Adam; falls to 0 along a cosine.
        memory: arguments of `Bank.gaussian_memory`, for the first.
    """

    normalization: str
    learning_rate: float
    memory: Mapping[str, Any] | None = None


ONE_CLUSTER: Mapping[str, Any] = {
    "buffer_size": 512,
    "distance_threshold": 0.5,
    "max_clusters": 1,
    "bootstrap_steps": 500,
    "min_variance": 1e-2,
    "distance": "gaussian",
}
FIVE_CLUSTERS: Mapping[str, Any] = {
    "buffer_size": 256,
    "distance_threshold": 300.0,
    "max_clusters": 5,
    "bootstrap_steps": 500,
    "min_variance": 0.1,
    "distance": "squared_l2",
}
# Chosen for each case by itself on 4,000 of the 20,000 training images, never on test data.
CASES = {
    "carls": Settings("dynamic", 2e-3, ONE_CLUSTER),
    "carls, 5 clusters": Settings("dynamic", 2e-3, FIVE_CLUSTERS),
    "batch norm": Settings("batch norm", 4e-3),
    "layer norm": Settings("layer norm", 2e-3),
}


@dataclass(frozen=True, eq=False)
class Run:
    """What one training run came to.

    Attributes:
        accuracy: on the test part after the last step, in percent.
        step_ms: mean time of a step.
        clusters: in the memory; 0 where there is none.
        auroc: score -> foreign images -> area under the ROC curve of telling them from the test part.
    """

    accuracy: float
    step_ms: float
    clusters: int
    auroc: dict[str, dict[str, float]]


class Network(nn.Module):
    """(n, 784) float32 -> (n, 10) logits through one hidden layer that is normalised before its ReLU."""

    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, HIDDEN)
        self.normalization = normalization
        self.output = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(torch.relu(self.normalization(self.hidden(x))))
        return logits


def run_cases(bank: Bank, data: Fashion, seeds: int, steps: int, console: Console) -> dict[str, list[Run]]:
    """Every case for seeds 0, 1, ..."""
    torch.set_num_threads(1)
    columns = TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    runs: dict[str, list[Run]] = {case: [] for case in CASES}
    strangers = foreign(data.test)
    with Progress(*columns, console=console) as bars:
        tasks = {case: bars.add_task(case, total=seeds * steps) for case in CASES}
        # In turns, so that what else the machine does slows all cases alike.
        for seed in range(seeds):
            for case, settings in CASES.items():
                advance = partial(bars.advance, tasks[case])
                runs[case].append(run_case(bank, settings, data, strangers, seed, steps, advance))
    return runs


def run_case(
    bank: Bank,
    settings: Settings,
    data: Fashion,
    strangers: Mapping[str, Images],
    seed: int,
    steps: int,
    advance: Callable[[], None],
) -> Run:
    """Train one network by `settings` and test it.

    Args:
        bank: gets a memory for the time of the run, where the case has one.
        strangers: kind -> images that are to be told from those of the test part.
        seed: of the first weights and of the order of the images.
        advance: called after each step.
    """
    torch.manual_seed(seed)
    # A name of our own: the bank may be one that others use.
    name = f"demo.normalization.{os.urandom(4).hex()}"
    network = Network(_layer(bank, name, settings))
    try:
        step_ms = _train(network, settings.learning_rate, data, seed, steps, advance)
        return _test(network, data, strangers, step_ms)
    finally:
        if settings.memory is not None:
            bank.drop(name)


def _layer(bank: Bank, name: str, settings: Settings) -> nn.Module:
    if settings.memory is not None:
        return DynamicNormalization(bank.gaussian_memory(name, dim=HIDDEN, **settings.memory))
    return nn.BatchNorm1d(HIDDEN) if settings.normalization == "batch norm" else nn.LayerNorm(HIDDEN)


def _train(
    network: Network,
    learning_rate: float,
    data: Fashion,
    seed: int,
    steps: int,
    advance: Callable[[], None],
) -> float:
    """Mean milliseconds of a step."""
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draw, order, spent = np.random.default_rng(seed), np.zeros(0, np.int64), 0.0
    for _ in range(steps):
        if len(order) < BATCH:
            order = draw.permutation(len(images))
        batch, order = torch.from_numpy(order[:BATCH]), order[BATCH:]
        began = time.perf_counter()
        loss = functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
        spent += time.perf_counter() - began
        advance()
    return 1e3 * spent / steps


@torch.no_grad()
def _test(network: Network, data: Fashion, strangers: Mapping[str, Images], step_ms: float) -> Run:
    from sklearn.metrics import roc_auc_score

    network.eval()
    layer = network.normalization
    guesses = network(torch.from_numpy(data.test)).argmax(dim=1).numpy()
    scores: dict[str, Callable[[Images], npt.NDArray[Any]]] = {
        "max softmax": lambda images: _doubt(network, images)
    }
    clusters = 0
    if isinstance(layer, DynamicNormalization):
        clusters = len(layer.memory.memory)
        scores["distance"] = lambda images: layer.ood_score(network.hidden(torch.from_numpy(images))).numpy()
    auroc: dict[str, dict[str, float]] = {}
    for score, of in scores.items():
        known = of(data.test)
        auroc[score] = {}
        for kind, images in strangers.items():
            truth = np.repeat([0, 1], [len(known), len(images)])
            auroc[score][kind] = float(roc_auc_score(truth, np.concatenate([known, of(images)])))
    accuracy = 100.0 * float((guesses == data.test_labels).mean())
    return Run(accuracy, step_ms, clusters, auroc)


def _doubt(network: Network, images: Images) -> npt.NDArray[Any]:
    """How far the largest probability is below 1."""
    result: npt.NDArray[Any] = (
        1 - torch.softmax(network(torch.from_numpy(images)).double(), 1).amax(1).numpy()
    )
    return result
