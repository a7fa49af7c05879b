"""The spec of Gaussian memories."""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from carls.errors import InvalidSpecError
from carls.specs.integers import check_integer
from carls.specs.tables import TableSpec

#: How far a point is from a cluster.
DISTANCES = ("squared_l2", "gaussian")
#: Points are at most this in size, so that squared distances are float32 still.
LARGEST_POINT = 1e15

_MAX_DIM = 65536
_MAX_CLUSTERS = 2**20
#: What all buffers may hold: 1 GiB, which one reply can carry.
_MAX_FLOATS = 2**28


@dataclass(frozen=True)
class GaussianMemorySpec(TableSpec):
    """A memory of clusters, each with the mean and the variance of its last points.

    Attributes:
        dim: elements of a point, 1 to 65536.
        buffer_size: points that a cluster keeps, the last ones that it was given; at least 1.
        distance_threshold: a point that is farther than this from all clusters makes a new one in
            mode "grow". For "squared_l2" a squared distance, 0 or more; for "gaussian" a value
            from 0 to 1, where lower is farther.
        max_clusters: how many clusters there may be, at most 2**20. `max_clusters * buffer_size * dim` is at
            most 2**28.
        bootstrap_steps: a call can make clusters, other than the very first, if more than so many calls in
            mode "update" or "grow" came before it. Calls that only read, or failed, do not count.
        min_variance: no variance is below this; 1e-30 to 1e30.
        distance: "squared_l2", the sum of (x - mean)**2; or "gaussian", exp(-mean((x - mean)**2 / variance)
            / 2), both over the elements.
    """

    kind: ClassVar[str] = "gaussian_memory"
    dim: int
    buffer_size: int
    distance_threshold: float
    max_clusters: int
    bootstrap_steps: int
    min_variance: float
    distance: str = "squared_l2"

    def __post_init__(self) -> None:
        if not isinstance(self.distance, str) or self.distance not in DISTANCES:
            raise InvalidSpecError(f"distance={self.distance!r:.60}: expected one of {list(DISTANCES)}")
        farthest = 1.0 if self.distance == "gaussian" else 1e38
        for name, value in {
            "dim": check_integer("dim", self.dim, 1, _MAX_DIM),
            "buffer_size": check_integer("buffer_size", self.buffer_size, 1, _MAX_FLOATS),
            "max_clusters": check_integer("max_clusters", self.max_clusters, 1, _MAX_CLUSTERS),
            "bootstrap_steps": check_integer("bootstrap_steps", self.bootstrap_steps, 0, 2**62),
            "distance_threshold": _number("distance_threshold", self.distance_threshold, 0.0, farthest),
            "min_variance": _number("min_variance", self.min_variance, 1e-30, 1e30),
        }.items():
            object.__setattr__(self, name, value)
        floats = self.max_clusters * self.buffer_size * self.dim
        if floats > _MAX_FLOATS:
            raise InvalidSpecError(
                f"max_clusters={self.max_clusters} of buffer_size={self.buffer_size} points of "
                f"dim={self.dim} are "
                f"{floats} numbers: expected at most {_MAX_FLOATS} (1 GiB)"
            )

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not least <= float(value) <= most:
        raise InvalidSpecError(f"{name}={value!r:.60}: expected a number from {least:g} to {most:g}")
    return float(value)
