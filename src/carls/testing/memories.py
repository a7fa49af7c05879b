"""The rules of Gaussian memories, written down plainly in numpy: what the banks are compared with."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


class PlainMemory:
    """A Gaussian memory of lists and loops, in float64 but for means and variances, which are float32.

    Args: as of `carls.GaussianMemorySpec`.
    """

    def __init__(
        self,
        dim: int,
        buffer_size: int,
        distance_threshold: float,
        max_clusters: int,
        bootstrap_steps: int,
        min_variance: float,
        distance: str,
    ) -> None:
        self.dim = dim
        self.buffer_size = buffer_size
        self.threshold = distance_threshold
        self.max_clusters = max_clusters
        self.bootstrap_steps = bootstrap_steps
        self.min_variance = min_variance
        self.gaussian = distance == "gaussian"
        self.buffers: list[deque[Any]] = []
        self.calls = self.points = self.refused_bootstrap = self.refused_full = 0

    def lookup(self, x: Any, mode: str) -> tuple[Any, Any, Any, Any]:
        """Cluster, mean, variance and distance of the points x (n, dim)."""
        if mode == "read":
            chosen = [self._nearest(point) for point in x]
        else:
            chosen = [self._absorb(point, mode) for point in x]
            self.calls += 1
            self.points += len(x)
        cluster = np.array(chosen, np.int64)
        told = [self._told(point, number) for point, number in zip(x, chosen, strict=True)]
        mean, variance, distance = (np.array(part) for part in zip(*told, strict=True))
        return cluster, mean, variance, distance

    def mean(self, cluster: int) -> Doubles:
        """(dim,) of one cluster, rounded to float32."""
        return np.asarray(
            np.mean(np.array(self.buffers[cluster], np.float64), axis=0).astype(np.float32), float
        )

    def variance(self, cluster: int) -> Doubles:
        """(dim,) of one cluster, of the population and rounded to float32."""
        spread = np.var(np.array(self.buffers[cluster], np.float64), axis=0)
        return np.asarray(np.maximum(spread, self.min_variance).astype(np.float32), float)

    def _absorb(self, point: Any, mode: str) -> int:
        nearest = self._nearest(point)
        if nearest < 0 or (mode == "grow" and self._is_far(point, nearest) and self._may_grow()):
            self.buffers.append(deque(maxlen=self.buffer_size))
            nearest = len(self.buffers) - 1
        self.buffers[nearest].append(np.array(point))
        return nearest

    def _may_grow(self) -> bool:
        if self.calls <= self.bootstrap_steps:
            self.refused_bootstrap += 1
        elif len(self.buffers) == self.max_clusters:
            self.refused_full += 1
        else:
            return True
        return False

    def _is_far(self, point: Any, cluster: int) -> bool:
        distance = self._distance(point, cluster)
        return distance < self.threshold if self.gaussian else distance > self.threshold

    def _nearest(self, point: Any) -> int:
        squares = [self._square(point, cluster) for cluster in range(len(self.buffers))]
        return int(np.argmin(squares)) if squares else -1

    def _square(self, point: Any, cluster: int) -> float:
        squares = (np.asarray(point, float) - self.mean(cluster)) ** 2
        return float(np.mean(squares / self.variance(cluster)) if self.gaussian else np.sum(squares))

    def _distance(self, point: Any, cluster: int) -> float:
        square = self._square(point, cluster)
        return float(np.exp(-square / 2)) if self.gaussian else square

    def _told(self, point: Any, cluster: int) -> tuple[Doubles, Doubles, float]:
        if cluster < 0:
            return np.zeros(self.dim), np.ones(self.dim), 0.0 if self.gaussian else np.inf
        return self.mean(cluster), self.variance(cluster), self._distance(point, cluster)
