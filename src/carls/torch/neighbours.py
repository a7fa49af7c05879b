"""Neighbour lists of a batch of vertices, as keys and positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.errors import InvalidValueError
from carls.keys import Int64s, Keys
from carls.messages import Floats
from carls.torch.bags import flatten_lists


@dataclass(frozen=True, eq=False)
class Neighbours:
    """m edges from n vertices to their neighbours.

    Attributes:
        vertex: (m,) int64, the row of each edge's vertex in the batch, ascending.
        distinct: the different neighbours' keys; None where there are no edges.
        place: (m,) int64, the place of each edge's neighbour in `distinct`.
        weight: (m,) float32 edge weights.
    """

    vertex: Int64s
    distinct: Keys | None
    place: Int64s
    weight: Floats

    @staticmethod
    def of(neighbours: Any, weights: Any, vertices: int, max_neighbours: int | None) -> Neighbours:
        """Take apart the neighbour lists of `vertices` vertices.

        Args:
            neighbours: `Ragged` from a feature table, an (n, k) array or tensor of integers or
                an (n, k) array of str, or n lists of keys of any lengths.
            weights: None for 1, or as `neighbours`, with the same lengths.
            max_neighbours: only so many from the start of each list; None: all.

        Raises:
            InvalidValueError: the counts do not fit together, or a weight is negative or not finite.
        """
        lengths, keys = flatten_lists(neighbours)
        if len(lengths) != vertices:
            raise InvalidValueError(f"{len(lengths)} neighbour lists for outputs of {vertices} vertices")
        weight = np.ones(int(lengths.sum()), np.float32)
        if weights is not None:
            weight_lengths, given = flatten_lists(weights)
            if not np.array_equal(weight_lengths, lengths):
                raise InvalidValueError("edge weights and neighbours: expected lists of the same lengths")
            weight = np.asarray(given, np.float32)
            if not (np.isfinite(weight).all() and (weight >= 0).all()):
                raise InvalidValueError("edge weights: expected finite numbers >= 0")
        vertex = np.repeat(np.arange(vertices), lengths)
        if max_neighbours is not None and len(lengths) and lengths.max() > max_neighbours:
            starts = np.cumsum(lengths) - lengths
            kept = np.flatnonzero(np.arange(len(vertex)) - starts[vertex] < max_neighbours)
            vertex, weight = vertex[kept], weight[kept]
            keys = _take(keys, kept)
        if len(vertex) == 0:
            return Neighbours(vertex, None, vertex, weight)
        distinct, place = Keys.of(keys).unique()
        return Neighbours(vertex, distinct, place, weight)


def _take(keys: Any, kept: Int64s) -> Any:
    if isinstance(keys, Keys):
        return keys.take(kept)
    return keys[kept] if isinstance(keys, np.ndarray) else [keys[i] for i in kept]
