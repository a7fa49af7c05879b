"""Graphs: who is whose neighbour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carls.graphs import Graph, NeighbourLists, pagerank_neighbours
from carls.keys import Keys

#: Neighbours of a vertex in the demos, and by PageRank.
NEIGHBOURS = 5
PAGERANK_NEIGHBOURS = 32


def nearest_neighbours(features: npt.NDArray[np.float32]) -> NeighbourLists:
    """The 5 nearest other rows of each of n rows by Euclidean distance d, nearest first, and
    the weights exp(-2 d_ij^2 / (r_i r_j)), r being the distance of a row's fifth neighbour.

    The weights are the local scaling of Zelnik-Manor and Perona, "Self-Tuning Spectral
    Clustering", NIPS 2004: what is near in a dense region is nearer than in a sparse one.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(features)
    # Without an argument each row is searched for among the others, not among itself.
    distances, neighbours = search.kneighbors()
    radii = np.maximum(distances[:, -1], np.finfo(np.float32).tiny)
    weights = np.exp(-2 * distances**2 / (radii[:, None] * radii[neighbours]))
    n = len(features)
    return NeighbourLists(
        Keys.of(np.arange(n)),
        np.arange(n + 1) * NEIGHBOURS,
        Keys.of(neighbours.reshape(-1)),
        weights.reshape(-1).astype(np.float32),
    )


def linked_neighbours(edges: npt.NDArray[np.int64], vertices: int, seed: int) -> NeighbourLists:
    """Up to 5 neighbours, drawn at random, of each of n vertices of an undirected graph.

    Args:
        edges: (m, 2) pairs of vertices, each pair once.
        vertices: n.
        seed: of the draw.
    """
    links = Graph.undirected(edges, vertices=np.arange(vertices)).links()
    vertex = np.repeat(np.arange(vertices), np.diff(links.offsets))
    order = np.lexsort((np.random.default_rng(seed).random(len(vertex)), vertex))
    rank = np.arange(len(vertex)) - links.offsets[vertex]
    kept = order[rank < NEIGHBOURS]
    counts = np.bincount(vertex[kept], minlength=vertices)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return NeighbourLists(links.keys, offsets, links.neighbours.take(kept), links.weights[kept])


def ranked_neighbours(edges: npt.NDArray[np.int64], vertices: int) -> NeighbourLists:
    """Up to 32 neighbours by personalised PageRank, as `linked_neighbours` otherwise."""
    graph = Graph.undirected(edges, vertices=np.arange(vertices))
    return pagerank_neighbours(graph, PAGERANK_NEIGHBOURS, epsilon=1e-3)
