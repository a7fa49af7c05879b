"""Tabler's icons: pictures of 32 x 32 pixels, each with a name and tags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carls.cli.demo.data_file import DataFile
from carls.cli.demo.icons.words import VOCABULARY, words_of
from carls.errors import CarlsError
from carls.keys import Int64s

FILE = DataFile("The collection of icons", Path("icons") / "icons.npz")
SIDE = 32
#: How the icons may be divided: by chance, or whole families of similar names apart.
SPLITS = {"random": "split", "family": "split_family"}
#: What the numbers of a division stand for.
TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Icons:
    """Icons, of which some are to be found.

    Attributes:
        images: (n, 1, 32, 32) float32, 0 to 1.
        words: (n, most words of an icon) int64, filled up with `VOCABULARY`.
        groups: (n,) int64, the same for icons whose images are the same.
        train: (t,) int64, which of them to learn from.
        test: (m,) int64, which to find among each other.
    """

    images: npt.NDArray[np.float32]
    words: Int64s
    groups: Int64s
    train: Int64s
    test: Int64s


def load(split: str, sought: int = TEST) -> Icons:
    """The icons, from where `DataFile` says.

    Args:
        split: one of `SPLITS`.
        sought: the part to find: `TEST`, or `VALIDATION` to choose settings by.

    Raises:
        CarlsError: they are not there, or cannot be read.
    """
    arrays = FILE.read(
        ("images", "names", "tags", SPLITS[split]),
        "It has the icons of the package @tabler/icons: images (n, 32, 32) uint8, names, tags separated by "
        f"bars, and {', '.join(SPLITS.values())}, which are 0, 1, 2 for training, validation and test",
    )
    images, part = arrays["images"], arrays[SPLITS[split]]
    if images.shape[1:] != (SIDE, SIDE) or not len(images) == len(arrays["names"]) == len(part):
        raise CarlsError(
            f"{FILE.find()}: images of shape {images.shape} and {len(part)} numbers of a division: expected "
            f"(n, {SIDE}, {SIDE}) and n. Remove the file or replace it"
        )
    bags = [
        words_of(str(name), str(tags)) for name, tags in zip(arrays["names"], arrays["tags"], strict=True)
    ]
    words = np.full((len(bags), max(map(len, bags))), VOCABULARY)
    for row, bag in zip(words, bags, strict=True):
        row[: len(bag)] = bag
    flat = images.reshape(len(images), -1)
    return Icons(
        images=images[:, None].astype(np.float32) / np.float32(255),
        words=words,
        groups=np.unique(flat, axis=0, return_inverse=True)[1].reshape(-1),
        train=np.flatnonzero(part == TRAIN),
        test=np.flatnonzero(part == sought),
    )
