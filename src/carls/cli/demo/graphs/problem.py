"""Problem: a graph of vertices, few of them labelled, and images or papers to be tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carls.graphs import NeighbourLists


@dataclass(frozen=True, eq=False)
class Problem:
    """What a trainer and its maker are given. A vertex's key is its row number.

    Attributes:
        features: (n, d) float32, of all vertices.
        labels: (n,) int64; only those of `labelled` may be trained on.
        labelled: (l,) int64, the vertices whose labels are known.
        neighbours: of all n vertices.
        test_features: (t, d) float32.
        test_labels: (t,) int64.
        classes: number of classes.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    neighbours: NeighbourLists
    test_features: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]
    classes: int

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        """(n,) int64 keys of the vertices."""
        return np.arange(len(self.features))

    @property
    def known_labels(self) -> npt.NDArray[np.int64]:
        """(n,) int64 labels; -1 where they are not known."""
        known = np.full(len(self.features), -1)
        known[self.labelled] = self.labels[self.labelled]
        return known
