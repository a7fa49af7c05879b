"""The maker of the demos: what the newest checkpoint says of every vertex."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from carls.client import Model
from carls.keys import Keys
from carls.makers import KnowledgeMaker, Write


class VertexMaker(KnowledgeMaker):
    """Writes each vertex's class probabilities, computed from a checkpoint of `Perceptron`.

    It computes with numpy alone, so that its process starts without PyTorch.

    Args:
        table: embedding table to write to.
        features: (n, d) float32, of all vertices; a vertex's key is its row number.
    """

    def __init__(self, table: str, features: npt.NDArray[np.float32]) -> None:
        self.table = table
        self.features = features

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        return [Write(self.table, keys, probabilities(model, self.features[keys.integers]))]


def probabilities(model: Model, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a checkpoint of `Perceptron` says of (n, d) inputs: (n, classes) probabilities."""
    weights = model.tensors
    hidden = np.maximum(x @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    logits = hidden @ weights["output.weight"].T + weights["output.bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
    return result
