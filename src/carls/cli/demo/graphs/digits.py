"""Handwritten digits: scikit-learn's 1797 images of 8 x 8 pixels."""

from __future__ import annotations

import numpy as np

from carls.cli.demo.graphs.graph import nearest_neighbours
from carls.cli.demo.graphs.problem import Problem

CLASSES = 10
TEST_IMAGES = 500
#: Images of the rarest digit among the others, and so the most labels of each digit.
_RAREST = 120


def largest_label_count() -> int:
    """The most labels that `digits` can draw."""
    return _RAREST * CLASSES


def digits(seed: int, labels: int = 50) -> Problem:
    """The digits with few labels.

    500 images, the same for every seed, are set aside for the test and are no vertices of the
    graph. The other 1297 are the vertices, joined to their 5 nearest. `labels` of them, as
    many of each digit as of any other (up to one), are drawn by `seed` to have their labels
    known.
    """
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    images, numbers = (images / 16).astype(np.float32), numbers.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    test, pool = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Problem(
        features=images[pool],
        labels=numbers[pool],
        labelled=_balanced_draw(numbers[pool], labels, np.random.default_rng(seed)),
        neighbours=nearest_neighbours(images[pool]),
        test_features=images[test],
        test_labels=numbers[test],
        classes=CLASSES,
    )


def _balanced_draw(numbers: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    by_class = [draw.permutation(np.flatnonzero(numbers == digit)) for digit in draw.permutation(CLASSES)]
    return np.array([by_class[i % CLASSES][i // CLASSES] for i in range(count)], np.int64)
