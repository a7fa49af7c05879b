"""Bags of keys: for each example no key, one, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from carls.client import Ragged
from carls.errors import InvalidKeyError, InvalidValueError
from carls.keys import Int64s, Keys
from carls.torch.batch import Key, KeyBatch


@dataclass(frozen=True, eq=False)
class Bags:
    """m keys in n bags.

    Attributes:
        count: n, the number of bags.
        single: whether the bags were given as a key for each.
        owner: (m,) int64, the bag of each key, ascending.
        distinct: the different keys, in order of first appearance; None where m is 0.
        place: (m,) int64, the place of each key in `distinct`.
    """

    count: int
    single: bool
    owner: Int64s
    distinct: Keys | None
    place: Int64s

    @staticmethod
    def of(keys: Any, padding_key: Key | None) -> Bags:
        """Take apart `keys`, without those that equal `padding_key`.

        Args:
            keys: n keys, one for each bag: a tensor or array (n,) of integers, an array of
                str, `Keys`, or a list of int, str or bytes. Or n bags: a tensor or array
                (n, k), n lists, arrays or tensors of any lengths, or `Ragged` from a feature table.

        Raises:
            InvalidKeyError: anything else.
        """
        single = _is_single(keys)
        if single:
            batch = KeyBatch.of(keys, padding_key)
            lengths = np.ones(len(batch.positions), np.int64)
        else:
            lengths, flat = flatten_lists(keys)
            batch = KeyBatch.of(flat, padding_key)
            if len(batch.shape) > 1:
                raise InvalidKeyError("lists in the lists of keys: expected n lists of keys")
        distinct = 0 if batch.distinct is None else len(batch.distinct)
        kept = batch.positions < distinct
        owner = np.repeat(np.arange(len(lengths)), lengths)
        return Bags(len(lengths), single, owner[kept], batch.distinct, batch.positions[kept])

    def only(self, kept: npt.NDArray[np.bool_]) -> Bags:
        """The same bags with those of the distinct keys alone that `kept` tells."""
        if kept.all() or self.distinct is None:
            return self
        places = np.cumsum(kept) - 1
        here = kept[self.place]
        distinct = self.distinct.take(np.flatnonzero(kept)) if kept.any() else None
        return Bags(self.count, self.single, self.owner[here], distinct, places[self.place[here]])

    def as_sets(self) -> Bags:
        """The same bags with each key once in each."""
        if self.distinct is None:
            return self
        pairs = np.unique(self.owner * len(self.distinct) + self.place)
        owner, place = np.divmod(pairs, len(self.distinct))
        return Bags(self.count, self.single, owner, self.distinct, place)

    def lists(self) -> list[Keys]:
        """The keys of each bag; there must be some."""
        assert self.distinct is not None
        keys, ends = self.distinct.take(self.place), np.cumsum(self.sizes)
        return [keys[end - size : end] for end, size in zip(ends, self.sizes, strict=True)]

    @property
    def sizes(self) -> Int64s:
        """(n,) int64: keys in each bag."""
        return np.bincount(self.owner, minlength=self.count)

    @property
    def rank(self) -> Int64s:
        """(m,) int64: 0, 1, ... for the keys of each bag."""
        sizes = self.sizes
        return np.arange(len(self.owner)) - (np.cumsum(sizes) - sizes)[self.owner]


def flatten_lists(lists: Any) -> tuple[Int64s, Any]:
    """The length of each list, and all elements one after another.

    Args:
        lists: `Ragged`, an (n, k) array or tensor, or n lists, arrays or tensors of any lengths.

    Raises:
        InvalidValueError: anything else.
    """
    if isinstance(lists, Ragged):
        return lists.lengths, lists.values
    if isinstance(lists, torch.Tensor):
        lists = lists.detach().cpu().numpy()
    if isinstance(lists, np.ndarray):
        if lists.ndim != 2:
            raise InvalidValueError(f"array of shape {lists.shape}: expected (n, k), n lists of k")
        return np.full(len(lists), lists.shape[1]), lists.reshape(-1)
    if not isinstance(lists, Sequence) or any(isinstance(inner, str | bytes) for inner in lists):
        raise InvalidValueError(f"{lists!r:.60}: expected a list of keys for each vertex or example")
    lists = [inner.detach().cpu().numpy() if isinstance(inner, torch.Tensor) else inner for inner in lists]
    lengths = np.fromiter((len(inner) for inner in lists), np.int64, len(lists))
    # An empty array is of floats unless told otherwise, and would make all keys floats.
    filled = [inner for inner in lists if len(inner)]
    if filled and all(isinstance(inner, np.ndarray) for inner in filled):
        return lengths, np.concatenate(filled)
    return lengths, list(chain.from_iterable(lists))


def _is_single(keys: Any) -> bool:
    """Whether `keys` are one for each bag; refuses what is neither that nor bags."""
    if isinstance(keys, Keys):
        return True
    if isinstance(keys, Ragged):
        return False
    if isinstance(keys, torch.Tensor | np.ndarray):
        if keys.ndim not in (1, 2):
            raise InvalidKeyError(f"keys of shape {tuple(keys.shape)}: expected (n,) or (n, k)")
        return keys.ndim == 1
    if not isinstance(keys, list | tuple):
        raise InvalidKeyError(
            f"keys of type {type(keys).__name__}: expected n keys or n lists of keys, as a tensor, "
            "an array, a list or carls.Ragged"
        )
    bags = sum(
        isinstance(key, list | tuple) or (isinstance(key, np.ndarray | torch.Tensor) and key.ndim > 0)
        for key in keys
    )
    if bags not in (0, len(keys)):
        raise InvalidKeyError("keys and lists of keys side by side: expected only keys, or only lists")
    return bags == 0 and len(keys) > 0
