"""Personalised PageRank: the vertices that walks from a vertex visit most."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carls.errors import InvalidKeyError, InvalidRequestError
from carls.graphs.graph import Graph, require_count
from carls.graphs.lists import NeighbourLists
from carls.keys import Int64s, Keys, concat

#: Numbers of a block of sources at a time: sources x vertices.
_BLOCK = 2**20
#: Share of a block below which changed numbers are looked at one by one.
_FEW = 0.05


def pagerank_neighbours(
    graph: Graph,
    k: int = 32,
    *,
    teleport: float = 0.15,
    epsilon: float = 1e-4,
    sources: Any = None,
) -> NeighbourLists:
    """The k other vertices with the highest personalised PageRank of each vertex, and that as weight.

    A walk starts at vertex s. At each vertex it ends with probability `teleport`, else it takes an
    edge with a probability proportional to the edge's weight; from a vertex without edges it goes
    back to s. The personalised PageRank pi_s(v) is the probability that it ends at v:

        pi_s = teleport e_s + (1 - teleport) pi_s P

    It is computed by pushes, which keep pi_s = p + sum_u r(u) pi_u while they move mass from the
    residual r to the estimate p, until r(u) <= epsilon degree(u) everywhere: R. Andersen, F. Chung,
    K. Lang, "Local Graph Partitioning using PageRank Vectors", FOCS 2006; with their lazy walks of
    teleport a, the same as here with 2a / (1 + a). The number of pushes does not depend on the size of
    the graph. In an undirected graph 0 <= pi_s(v) - p(v) <= epsilon degree(v). As neighbours for
    training: A. Bojchevski et al., "Scaling Graph Neural Networks with Approximate PageRank", KDD 2020.

    Args:
        graph: of any size.
        k: most neighbours of a vertex; it has fewer where fewer get any mass.
        teleport: above 0, below 1; the higher, the nearer the neighbours.
        epsilon: above 0; the smaller, the more exact, and the slower.
        sources: keys of the vertices whose neighbours are wanted; None: all.

    Returns:
        `NeighbourLists` of the sources.

    Raises:
        InvalidRequestError: arguments that cannot be.
        InvalidKeyError: sources that are no vertices.
    """
    require_count(k)
    if not 0 < teleport < 1:
        raise InvalidRequestError(f"teleport={teleport!r}: expected a number above 0 and below 1")
    if not 0 < epsilon < 1:
        raise InvalidRequestError(f"epsilon={epsilon!r}: expected a number above 0 and below 1")
    keys, starts = (graph.keys, np.arange(len(graph))) if sources is None else _places(graph, sources)
    push = _Push(graph, teleport, epsilon)
    found = [push(starts[at : at + push.block], at) for at in range(0, len(starts), push.block)]
    source, vertex, mass = (np.concatenate(parts) for parts in zip(*found, strict=True))
    others = starts[source] != vertex
    return NeighbourLists.heaviest(keys, source[others], vertex[others], mass[others], graph.keys, k)


class _Push:
    """Pushes for a block of sources at a time, of all vertices that have too much at once."""

    def __init__(self, graph: Graph, teleport: float, epsilon: float) -> None:
        self.n = len(graph)
        self.block = max(1, _BLOCK // self.n)
        degrees = graph.degrees
        self._graph, self._teleport = graph, teleport
        self._limit = epsilon * np.where(degrees > 0, degrees, 1.0)
        self._edges = np.diff(graph.offsets)
        self._share = graph.weights / np.repeat(degrees, self._edges)
        self._residual = np.zeros(self.block * self.n)
        self._estimate = np.zeros(self.block * self.n)

    def __call__(self, starts: Int64s, first: int) -> tuple[Int64s, Int64s, npt.NDArray[np.float64]]:
        """Number of the source from `first` on, vertex, and estimate, of all that got any."""
        home = np.arange(len(starts)) * self.n + starts  # a code is source * n + vertex
        self._residual[home] = 1.0
        front = home
        while len(front):
            mass = self._residual[front]
            self._residual[front] = 0.0
            self._estimate[front] += self._teleport * mass
            front = self._settle(*self._spread(front, (1 - self._teleport) * mass, home))
        got = np.flatnonzero(self._estimate)
        result = got // self.n + first, got % self.n, self._estimate[got]
        self._residual[:] = self._estimate[:] = 0.0
        return result

    def _settle(self, codes: Int64s, mass: npt.NDArray[np.float64]) -> Int64s:
        """Add mass to residuals; the codes that have too much now."""
        if len(codes) < _FEW * len(self._residual):
            np.add.at(self._residual, codes, mass)
            return np.unique(codes[self._residual[codes] > self._limit[codes % self.n]])
        self._residual += np.bincount(codes, mass, minlength=len(self._residual))
        return np.flatnonzero(self._residual.reshape(-1, self.n) > self._limit)

    def _spread(
        self, front: Int64s, mass: npt.NDArray[np.float64], home: Int64s
    ) -> tuple[Int64s, npt.NDArray[np.float64]]:
        """Where the mass of the codes in `front` goes, and how much."""
        source, vertex = np.divmod(front, self.n)
        counts = self._edges[vertex]
        owner = np.repeat(np.arange(len(front)), counts)
        edge = np.arange(len(owner)) - np.repeat(
            np.cumsum(counts) - counts - self._graph.offsets[vertex], counts
        )
        codes = source[owner] * self.n + self._graph.targets[edge]
        ended = counts == 0
        return (
            np.concatenate([codes, home[source[ended]]]),
            np.concatenate([mass[owner] * self._share[edge], mass[ended]]),
        )


def _places(graph: Graph, sources: Any) -> tuple[Keys, Int64s]:
    keys = Keys.of(sources)
    distinct, place = concat([graph.keys, keys]).unique()
    if len(distinct) > len(graph):
        raise InvalidKeyError(f"source {distinct[len(graph)]!r} is none of the {len(graph)} vertices")
    return keys, place[len(graph) :]
