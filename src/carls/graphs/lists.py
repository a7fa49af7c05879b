"""NeighbourLists: each vertex's neighbours and their weights, as feature tables hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.client import Ragged
from carls.errors import InvalidRequestError
from carls.keys import Int64s, Keys
from carls.messages import Floats


def neighbour_columns(keys: str = "int64") -> dict[str, str]:
    """The columns of a feature table of neighbours: `neighbours` and `weights`, a list of each a vertex.

    Args:
        keys: type of the vertices' keys, "int64" or "string".

    Raises:
        InvalidRequestError: another type; columns hold no bytes.
    """
    if keys not in ("int64", "string"):
        raise InvalidRequestError(
            f"keys={keys!r}: expected 'int64' or 'string', as lists of a feature table hold no other keys"
        )
    return {"neighbours": f"list<{keys}>", "weights": "list<float32>"}


@dataclass(frozen=True, eq=False)
class NeighbourLists:
    """A list of neighbours for each of n vertices, heaviest first.

    Attributes:
        keys: of the n vertices.
        offsets: (n + 1,) int64; vertex i has the neighbours offsets[i] to offsets[i + 1].
        neighbours: keys of the neighbours, one list after the other.
        weights: float32 weights >= 0 of the edges to them, likewise.
    """

    keys: Keys
    offsets: Int64s
    neighbours: Keys
    weights: Floats

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"NeighbourLists(n={len(self)}, edges={len(self.neighbours)})"

    @property
    def types(self) -> dict[str, str]:
        """The columns that a feature table needs for these lists."""
        return neighbour_columns(self.keys.type)

    @property
    def columns(self) -> dict[str, Any]:
        """What to assign to it: `table.assign(lists.keys, lists.columns)`."""
        plain = self.neighbours if self.neighbours.integers is None else self.neighbours.integers
        return {"neighbours": Ragged(self.offsets, plain), "weights": Ragged(self.offsets, self.weights)}

    @staticmethod
    def heaviest(
        keys: Keys, vertex: Int64s, place: Int64s, weight: Any, all_keys: Keys, k: int | None
    ) -> NeighbourLists:
        """The k heaviest edges of each vertex, those of equal weight by place; None: all.

        Args:
            keys: of n vertices.
            vertex: (m,) int64, the place of each edge's vertex in `keys`, in any order.
            place: (m,) int64, the place of its neighbour in `all_keys`.
            weight: (m,) numbers.
        """
        order = np.lexsort((place, -weight, vertex))
        counts = np.bincount(vertex, minlength=len(keys))
        if k is not None:
            rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            order, counts = order[rank < k], np.minimum(counts, k)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return NeighbourLists(keys, offsets, all_keys.take(place[order]), weight[order].astype(np.float32))
