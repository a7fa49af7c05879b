"""Graph: vertices and weighted edges, in compressed rows."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.errors import InvalidKeyError, InvalidRequestError, InvalidValueError
from carls.graphs.lists import NeighbourLists
from carls.keys import Int64s, Keys, concat


@dataclass(frozen=True, eq=False)
class Graph:
    """n vertices and the edges that leave each of them.

    Attributes:
        keys: of the n vertices, all different.
        offsets: (n + 1,) int64; vertex i has the edges offsets[i] to offsets[i + 1].
        targets: (m,) int64, where each edge leads: a place in `keys`.
        weights: (m,) float64, above 0.
    """

    keys: Keys
    offsets: Int64s
    targets: Int64s
    weights: npt.NDArray[np.float64]

    @staticmethod
    def undirected(edges: Any, weights: Any = None, vertices: Any = None) -> Graph:
        """A graph whose edges lead both ways.

        An edge of a vertex to itself is left out. One that is given several times, in either
        direction, counts once, with its largest weight.

        Args:
            edges: m pairs of keys, int or str: an (m, 2) array, or a list of pairs.
            weights: (m,) numbers above 0; None: all 1.
            vertices: keys of all vertices, in the order wanted; None: those of the edges, in
                order of first appearance. Give them where some have no edge.

        Raises:
            InvalidKeyError: keys that cannot be, or an edge to none of `vertices`.
            InvalidValueError: weights that cannot be.
        """
        keys, sources, targets, weight = _edges(edges, weights, vertices)
        both = np.concatenate([sources, targets]), np.concatenate([targets, sources])
        return _compressed(keys, *both, np.concatenate([weight, weight]))

    @staticmethod
    def directed(edges: Any, weights: Any = None, vertices: Any = None) -> Graph:
        """A graph whose edges lead from the first key of a pair to the second; else as `undirected`."""
        return _compressed(*_edges(edges, weights, vertices))

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"Graph(vertices={len(self)}, edges={len(self.targets)})"

    @property
    def degrees(self) -> npt.NDArray[np.float64]:
        """(n,) float64: sum of the weights of each vertex's edges."""
        # Of no edges at all, numpy would count integers.
        return np.bincount(self._sources, self.weights, minlength=len(self)).astype(np.float64)

    def links(self, k: int | None = None) -> NeighbourLists:
        """The vertices one edge away, with the edges' weights.

        Args:
            k: only so many of each vertex, the heaviest, then those first in `keys`; None: all.
        """
        require_count(k)
        return NeighbourLists.heaviest(self.keys, self._sources, self.targets, self.weights, self.keys, k)

    @property
    def _sources(self) -> Int64s:
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def require_count(k: int | None) -> None:
    """Raise `InvalidRequestError` unless k is a number of neighbours, or None."""
    if k is not None and (isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1):
        raise InvalidRequestError(f"k={k!r}: expected an integer >= 1")


def _edges(edges: Any, weights: Any, vertices: Any) -> tuple[Keys, Int64s, Int64s, npt.NDArray[np.float64]]:
    """The vertices' keys, and of each edge the two places among them and the weight."""
    ends = _ends(edges)
    m = 0 if ends is None else len(ends) // 2
    try:
        weight = np.ones(m) if weights is None else np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise InvalidValueError(f"weights={weights!r:.80}: expected ({m},) numbers above 0") from None
    if weight.shape != (m,) or not (np.isfinite(weight).all() and (weight > 0).all()):
        raise InvalidValueError(
            f"weights of shape {weight.shape} for {m} edges: expected ({m},) finite numbers above 0"
        )
    if vertices is None:
        if ends is None:
            raise InvalidKeyError("no edges and no vertices: expected either")
        keys, place = ends.unique()
        return keys, place[0::2], place[1::2], weight
    keys = Keys.of(vertices)
    if len(keys.unique()[0]) != len(keys):
        raise InvalidKeyError("vertices: expected each key once")
    if ends is None:
        nothing = np.zeros(0, np.int64)
        return keys, nothing, nothing, weight
    # Vertices come first, so the first len(keys) distinct ones are exactly they.
    distinct, place = concat([keys, ends]).unique()
    place = place[len(keys) :]
    if len(distinct) > len(keys):
        unknown = distinct[len(keys)]
        raise InvalidKeyError(f"an edge of {unknown!r}, which is none of the {len(keys)} vertices")
    return keys, place[0::2], place[1::2], weight


def _ends(edges: Any) -> Keys | None:
    """The keys of all edges' ends, two for each edge; None: no edges."""
    if not isinstance(edges, np.ndarray):
        edges = list(edges)
        for edge in edges:
            # A text of two letters is no pair of them.
            if isinstance(edge, str | bytes) or not (isinstance(edge, Sized) and len(edge) == 2):
                raise InvalidKeyError(f"edge {edge!r:.80}: expected a pair of keys")
        flat: Any = [key for edge in edges for key in edge]
    else:
        if edges.ndim != 2 or edges.shape[1] != 2:
            raise InvalidKeyError(f"edges of shape {edges.shape}: expected (m, 2) keys")
        flat = edges.reshape(-1)
    return Keys.of(flat) if len(flat) else None


def _compressed(keys: Keys, sources: Int64s, targets: Int64s, weights: npt.NDArray[np.float64]) -> Graph:
    """Edges in order of their sources and targets, each once, none from a vertex to itself."""
    kept = sources != targets
    sources, targets, weights = sources[kept], targets[kept], weights[kept]
    order = np.lexsort((-weights, targets, sources))
    sources, targets, weights = sources[order], targets[order], weights[order]
    first = (np.diff(sources, prepend=-1) != 0) | (np.diff(targets, prepend=-1) != 0)
    sources, targets, weights = sources[first], targets[first], weights[first]
    offsets = np.searchsorted(sources, np.arange(len(keys) + 1))
    return Graph(keys, offsets, targets, weights)
