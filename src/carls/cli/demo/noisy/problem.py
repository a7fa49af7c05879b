"""Fashion-MNIST with wrong labels: 28 x 28 pixels, 10 kinds of clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carls.cli.demo.fashion import Fashion, Labels

CLASSES = 10
#: Images to train on, the first of the data set.
TRAIN_IMAGES = 10_000
#: Share of the labels that noise may replace.
NOISE_SHARE = 0.4
#: What a class is taken for: boots for sneakers, sneakers for sandals, pullovers for shirts, and
#: dresses and coats for each other.
_MISTAKEN = {9: 7, 7: 5, 2: 6, 3: 4, 4: 3}


@dataclass(frozen=True, eq=False)
class NoisyProblem:
    """What a trainer and its maker are given. An example's key is its row number.

    Attributes:
        features: (n, 784) float32, pixels from 0 to 1.
        given: (n,) int64, the labels to train on, some of them wrong.
        wrong: share of `given` that is wrong, 0 to 1.
        test_features: (t, 784) float32.
        test_labels: (t,) int64, right ones.
    """

    features: npt.NDArray[np.float32]
    given: Labels
    wrong: float
    test_features: npt.NDArray[np.float32]
    test_labels: Labels

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        """(n,) int64 keys of the examples."""
        return np.arange(len(self.features))


def symmetric(labels: Labels, seed: int, share: float = NOISE_SHARE) -> Labels:
    """Each label, with probability `share`, replaced by one of the 9 others, all as likely."""
    draw = np.random.default_rng([seed, 1])
    flipped = draw.random(len(labels)) < share
    others = (labels + draw.integers(1, CLASSES, len(labels))) % CLASSES
    return np.where(flipped, others, labels)


def asymmetric(labels: Labels, seed: int, share: float = NOISE_SHARE) -> Labels:
    """Each label of 5 classes, with probability `share`, replaced by the class that it looks like.

    The pairs are those of Z. Zhang and M. Sabuncu, "Generalized Cross Entropy Loss for Training Deep
    Neural Networks with Noisy Labels", NeurIPS 2018: boot to sneaker, sneaker to sandal, pullover to
    shirt, dress and coat to each other.
    """
    draw = np.random.default_rng([seed, 2])
    flipped = draw.random(len(labels)) < share
    mistaken = np.array([_MISTAKEN.get(label, label) for label in range(CLASSES)])
    return np.where(flipped, mistaken[labels], labels)


NOISES = {"symmetric": symmetric, "asymmetric": asymmetric}


def noisy(data: Fashion, seed: int, noise: str) -> NoisyProblem:
    """The first 10,000 training images with the noise of a seed, and all test images."""
    features, labels = data.train[:TRAIN_IMAGES], data.train_labels[:TRAIN_IMAGES]
    given = NOISES[noise](labels, seed)
    return NoisyProblem(features, given, float((given != labels).mean()), data.test, data.test_labels)
