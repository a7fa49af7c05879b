"""Graphs: who is whose neighbour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Neighbours of a vertex in the demos.
NEIGHBOURS = 5


def nearest_neighbours(
    features: npt.NDArray[np.float32],
) -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.float32]]]:
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
    return list(neighbours), list(weights.astype(np.float32))


def linked_neighbours(edges: npt.NDArray[np.int64], vertices: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Up to 5 neighbours, drawn at random, of each of n vertices of an undirected graph.

    Args:
        edges: (m, 2) pairs of vertices, each pair once.
        vertices: n.
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    lists = np.split(both[:, 1], np.searchsorted(both[:, 0], np.arange(1, vertices)))
    return [draw.permutation(list_)[:NEIGHBOURS].astype(np.int64) for list_ in lists]
