"""Neighbour lists of a batch of vertices, as keys and positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from carls.errors import InvalidValueError
from carls.keys import Int64s, Keys, concat
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
        own: (n,) int64, the place of each vertex's own key in `distinct`; -1 where it is not there, or
            the keys were not given.
    """

    vertex: Int64s
    distinct: Keys | None
    place: Int64s
    weight: Floats
    own: Int64s

    @property
    def vertices(self) -> int:
        """n, the number of vertices."""
        return len(self.own)

    @staticmethod
    def of(
        neighbours: Any, weights: Any, vertices: int, max_neighbours: int | None, keys: Any = None
    ) -> Neighbours:
        """Take apart the neighbour lists of `vertices` vertices.

        Args:
            neighbours: `Ragged` from a feature table, an (n, k) array or tensor of integers or
                an (n, k) array of str, or n lists of keys of any lengths.
            weights: None for 1, or as `neighbours`, with the same lengths.
            max_neighbours: only so many from the start of each list; None: all.
            keys: the vertices' own keys, an array, tensor, list or `Keys`; None: not known.

        Raises:
            InvalidValueError: the counts do not fit together, or a weight is negative or not finite.
        """
        lengths, flat = flatten_lists(neighbours)
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
            flat = _take(flat, kept)
        if len(vertex) == 0:
            return Neighbours(vertex, None, vertex, weight, np.full(vertices, -1))
        distinct, place = Keys.of(flat).unique()
        return Neighbours(vertex, distinct, place, weight, _own_places(keys, distinct, vertices))


def _own_places(keys: Any, distinct: Keys, vertices: int) -> Int64s:
    """The place of each vertex's key among the distinct ones, -1 where it is not there."""
    if keys is None or vertices == 0:
        return np.full(vertices, -1)
    own = Keys.of(keys.detach().cpu().numpy() if isinstance(keys, torch.Tensor) else keys)
    if len(own) != vertices:
        raise InvalidValueError(f"{len(own)} keys for outputs of {vertices} vertices")
    # The distinct ones come first, so what is beyond them is not among them.
    place = concat([distinct, own]).unique()[1][len(distinct) :]
    return np.where(place < len(distinct), place, -1)


def _take(keys: Any, kept: Int64s) -> Any:
    if isinstance(keys, Keys):
        return keys.take(kept)
    return keys[kept] if isinstance(keys, np.ndarray) else [keys[i] for i in kept]
