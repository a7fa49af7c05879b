"""What the maker of the demo is given: the examples, and how the model sees them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from carls.cli.demo.fashion import Labels
from carls.cli.demo.graphs.maker import probabilities
from carls.client import Model
from carls.keys import Keys


class Examples:
    """Images and their given labels, for `LabelQualityMaker`; an example's key is its row number.

    Args:
        features: (n, d) float32.
        given: (n,) int64.
        threads: that numpy may compute with.
    """

    def __init__(self, features: npt.NDArray[np.float32], given: Labels, threads: int) -> None:
        self.features = features
        self.given = given
        self.threads = threads

    def predict(self, model: Model, keys: Keys) -> npt.NDArray[np.float32]:
        """(n, classes) float32 probabilities by a checkpoint of `Perceptron`, with numpy alone."""
        with threadpool_limits(self.threads):
            return probabilities(model, self.features[keys.integers])

    def labels(self, keys: Keys) -> Labels:
        """(n,) int64 given labels."""
        return self.given[keys.integers]
