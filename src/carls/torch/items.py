"""Items: the keys that a contrastive loss compares with, and which of them are the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.errors import InvalidValueError
from carls.keys import Int64s, Keys


@dataclass(frozen=True, eq=False)
class Items:
    """N items by key, in groups.

    Attributes:
        keys: all different.
        group: (N,) int64 from 0, of each item; without groups its place.
    """

    keys: Keys
    group: Int64s
    _place: dict[Any, int]
    #: Items group by group, and where each group starts; (groups + 1,).
    _members: Int64s
    _starts: Int64s

    @staticmethod
    def of(keys: Any, groups: Any) -> Items:
        """Take in the items.

        Raises:
            InvalidKeyError: keys that cannot be.
            InvalidValueError: a key that comes twice, or groups that are not one integer for each item.
        """
        batch = Keys.of(keys)
        place = {key: at for at, key in enumerate(batch.tolist())}
        if len(place) < len(batch):
            distinct, positions = batch.unique()
            twice = distinct[int(np.bincount(positions).argmax())]
            raise InvalidValueError(f"key {twice!r} comes twice among the items: expected each once")
        group = np.arange(len(batch))
        if groups is not None:
            given = np.asarray(groups)
            if given.shape != (len(batch),) or given.dtype.kind not in "iu":
                raise InvalidValueError(
                    f"groups of shape {given.shape} and dtype {given.dtype} for {len(batch)} items: expected "
                    "an integer for each"
                )
            group = np.unique(given, return_inverse=True)[1].astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(np.bincount(group))])
        return Items(batch, group, place, np.argsort(group, kind="stable"), starts)

    def find(self, keys: Keys, n: int) -> tuple[Int64s, Int64s]:
        """Places (n,) of a batch's keys, -1 for others, and groups (n,); others of one key are a group.

        Raises:
            InvalidValueError: not n keys.
        """
        if len(keys) != n:
            raise InvalidValueError(f"{n} outputs of each tower and {len(keys)} keys: expected one count")
        listed = keys.tolist() if keys.type == self.keys.type else [None] * n
        places = np.array([self._place.get(key, -1) for key in listed], np.int64)
        groups = self.group[places]
        if (places < 0).any():
            groups = np.where(places < 0, -1 - keys.unique()[1], groups)
        return places, groups

    def same(self, places: Int64s, columns: Int64s | None) -> tuple[Int64s, Int64s]:
        """Which examples are the same thing as which items.

        Args:
            places: (n,) of the examples, -1 for others.
            columns: (c,) places of items; None: all, each in its own column.

        Returns:
            (m,) examples and (m,) columns, for each pair.
        """
        example = np.flatnonzero(places >= 0)
        if len(self._starts) - 1 == len(self.group):
            column = places[example]
        else:
            group = self.group[places[example]]
            starts, sizes = self._starts[group], np.diff(self._starts)[group]
            within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            example, column = np.repeat(example, sizes), self._members[np.repeat(starts, sizes) + within]
        if columns is None:
            return example, column
        at = np.full(len(self.group), -1)
        at[columns] = np.arange(len(columns))
        here = at[column] >= 0
        return example[here], at[column][here]
