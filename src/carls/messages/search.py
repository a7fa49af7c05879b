"""Messages about searches over the rows of embedding tables."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from carls.keys import Keys
from carls.messages.rows import Floats


class KeyLists(NamedTuple):
    """n lists of keys: list i has the keys `ends[i]` to `ends[i + 1]`; `keys` is None where all are empty.

    `ends` is (n + 1,) int32.
    """

    keys: Keys | None
    ends: npt.NDArray[np.int32]

    @staticmethod
    def none(n: int) -> KeyLists:
        """n empty lists."""
        return KeyLists(None, np.zeros(n + 1, np.int32))


class Nearest(NamedTuple):
    """The `k` rows of an embedding table that are nearest to each of `queries` (n, dim) float32 by
    `metric`, one of `carls.specs.METRICS`; fewer where there are no more.

    `excluded` has for each query the keys that it must not get, or with `shared` in its first list
    those that no query must get. `where` is the JSON text of a `carls.specs.Where`, "" for none.
    `exact`: whether to look at every row, whatever index the table has. Reply: `NeighbourBatch`."""

    table: str
    queries: Floats
    excluded: KeyLists
    shared: bool
    k: int
    metric: str
    where: str
    exact: bool


class NeighbourBatch(NamedTuple):
    """What was found: `counts[i]` rows for query i, one query after the other, best first, rows
    of equal score by key. `keys` is None where nothing was found, `scores` is float32."""

    keys: Keys | None
    scores: Floats
    counts: tuple[int, ...]


class SetIndex(NamedTuple):
    """Give an embedding table an index in place of the one that it has, by its policy as JSON-able
    facts; None: no index. The same one again changes nothing. Reply: `Done`, before it is built."""

    table: str
    policy: dict[str, Any] | None
