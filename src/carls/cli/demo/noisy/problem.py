"""Fashion-MNIST with wrong labels: 28 x 28 pixels, 10 kinds of clothes."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carls.errors import CarlsError

CLASSES = 10
#: Images to train on, the first of the data set.
TRAIN_IMAGES = 10_000
#: Share of the labels that noise may replace.
NOISE_SHARE = 0.4
#: What a class is taken for: boots for sneakers, sneakers for sandals, pullovers for shirts, and
#: dresses and coats for each other.
_MISTAKEN = {9: 7, 7: 5, 2: 6, 3: 4, 4: 3}

Labels = npt.NDArray[np.int64]


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


def fashion(seed: int, noise: str) -> NoisyProblem:
    """The first 10,000 training images with the noise of a seed, and all test images."""
    arrays = load()
    images, labels = arrays["train_images"][:TRAIN_IMAGES], arrays["train_labels"][:TRAIN_IMAGES]
    true = labels.astype(np.int64)
    given = NOISES[noise](true, seed)
    return NoisyProblem(
        features=_pixels(images),
        given=given,
        wrong=float((given != true).mean()),
        test_features=_pixels(arrays["test_images"]),
        test_labels=arrays["test_labels"].astype(np.int64),
    )


def load() -> dict[str, npt.NDArray[np.uint8]]:
    """The arrays of $CARLS_DATA/fashion_mnist/fashion_mnist_30k.npz.

    Raises:
        CarlsError: it is not there, or cannot be read.
    """
    folder = os.environ.get("CARLS_DATA")
    path = Path(folder or ".") / "fashion_mnist" / "fashion_mnist_30k.npz"
    if not path.exists():
        raise CarlsError(
            f"{path} is not there: set CARLS_DATA to a folder with it. It has Fashion-MNIST's first 10,000 "
            "images or more, train_images (n, 28, 28) and train_labels (n,), and test_images and "
            "test_labels, all uint8"
        )
    names = ("train_images", "train_labels", "test_images", "test_labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CarlsError(f"{path} cannot be read ({error}): replace it") from None


def _pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    pixels: npt.NDArray[np.float32] = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return pixels
