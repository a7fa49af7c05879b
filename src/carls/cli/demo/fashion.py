"""Fashion-MNIST, and images that are none of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carls.cli.demo.data_file import DataFile

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

FILE = DataFile("Fashion-MNIST", Path("fashion_mnist") / "fashion_mnist_30k.npz")
SIDE = 28
_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, eq=False)
class Fashion:
    """Pictures of clothes as rows of 784 grey values from 0 to 1, and their classes.

    Attributes:
        train: (n, 784) float32.
        train_labels: (n,) int64, 0 to 9.
        test: (t, 784) float32.
        test_labels: (t,) int64.
    """

    train: Images
    train_labels: Labels
    test: Images
    test_labels: Labels

    def validation(self, seed: int = 0, share: float = 0.2) -> Fashion:
        """The training part alone, a `share` of it, drawn by `seed`, in the place of the test part."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        held, kept = np.split(order, [int(share * len(order))])
        return Fashion(self.train[kept], self.train_labels[kept], self.train[held], self.train_labels[held])


def load() -> Fashion:
    """Fashion-MNIST, from where `DataFile` says.

    Raises:
        CarlsError: it is not there, or cannot be read.
    """
    arrays = FILE.read(
        _NAMES,
        f"It has {', '.join(_NAMES)}: images (n, 28, 28) uint8 of the original's first 20,000 for training "
        "and 10,000 for the test, and their labels",
    )
    images: dict[str, Images] = {
        name: arrays[name].reshape(-1, SIDE * SIDE).astype(np.float32) / np.float32(255)
        for name in _NAMES[::2]
    }
    return Fashion(
        images["train_images"],
        arrays["train_labels"].astype(np.int64),
        images["test_images"],
        arrays["test_labels"].astype(np.int64),
    )


def foreign(clothes: Images) -> dict[str, Images]:
    """Images that no network of clothes has learnt: noise, `clothes` turned by 90 degrees, digits.

    Noise is uniform in each pixel; digits are scikit-learn's, 8 x 8, scaled up linearly.
    """
    from sklearn.datasets import load_digits

    noise = np.random.default_rng(0).random((2000, SIDE * SIDE), np.float32)
    turned = np.rot90(clothes.reshape(-1, SIDE, SIDE), axes=(1, 2)).reshape(len(clothes), -1)
    digits = _scaled(load_digits().images / 16)
    return {
        "noise": noise,
        "rotated": np.ascontiguousarray(turned),
        "digits": digits.reshape(-1, SIDE * SIDE),
    }


def _scaled(images: npt.NDArray[np.float64]) -> Images:
    """(n, 28, 28) of n smaller square images, interpolated linearly along rows and columns."""
    side = images.shape[1]
    places = np.linspace(0, side - 1, SIDE)
    weights = np.stack([np.interp(places, np.arange(side), row) for row in np.eye(side)], axis=1)
    return np.asarray(weights @ images @ weights.T, np.float32)
