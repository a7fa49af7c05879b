"""A batch of keys of any shape, taken apart once for look-up and gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from carls.errors import InvalidKeyError
from carls.keys import Int64s, Keys

#: What a module accepts as one key.
Key = int | str | bytes


@dataclass(frozen=True, eq=False)
class KeyBatch:
    """Keys of any shape as distinct keys and positions.

    Attributes:
        shape: of the given keys.
        distinct: the different keys other than the padding key, in order of first
            appearance; None where there are none.
        positions: (number of given keys,) int64, the place of each key in `distinct`;
            `len(distinct)` stands for the padding key.
    """

    shape: tuple[int, ...]
    distinct: Keys | None
    positions: Int64s

    @property
    def plain(self) -> bool:
        """Whether the given keys, flattened, are exactly `distinct`."""
        return self.distinct is not None and len(self.distinct) == len(self.positions)

    @staticmethod
    def of(keys: Any, padding_key: Key | None) -> KeyBatch:
        """Take apart `keys`: an integer tensor or array of any shape, an array of str, a
        (nested) list or tuple of int, str or bytes, or `Keys`.

        Raises:
            InvalidKeyError: of other types, or nested lists of unequal lengths.
        """
        shape, flat = _flatten(keys)
        kept = _kept(flat, padding_key)
        if kept is None:
            return KeyBatch._of_kept(shape, flat)
        positions = np.zeros(len(kept), np.int64)
        if not kept.any():
            return KeyBatch(shape, None, positions)
        indices = np.flatnonzero(kept)
        chosen = flat.take(indices) if isinstance(flat, Keys) else _take(flat, indices)
        inner = KeyBatch._of_kept((len(indices),), chosen)
        assert inner.distinct is not None
        positions[:] = len(inner.distinct)
        positions[indices] = inner.positions
        return KeyBatch(shape, inner.distinct, positions)

    @staticmethod
    def _of_kept(shape: tuple[int, ...], flat: Any) -> KeyBatch:
        if len(flat) == 0:
            return KeyBatch(shape, None, np.zeros(0, np.int64))
        distinct, positions = Keys.of(flat).unique()
        return KeyBatch(shape, distinct, positions)


def _flatten(keys: Any) -> tuple[tuple[int, ...], Any]:
    """The shape of `keys` and the keys in one dimension, for `Keys.of`."""
    if isinstance(keys, Keys):
        return (len(keys),), keys
    if isinstance(keys, torch.Tensor):
        if keys.is_floating_point() or keys.is_complex() or keys.dtype == torch.bool:
            raise InvalidKeyError(f"keys in a tensor of {keys.dtype}: expected integers, such as torch.int64")
        return tuple(keys.shape), keys.detach().cpu().numpy().reshape(-1)
    if isinstance(keys, np.ndarray):
        return keys.shape, keys.reshape(-1)
    if isinstance(keys, list | tuple):
        return _flatten_nested(keys)
    raise InvalidKeyError(
        f"keys of type {type(keys).__name__}: expected an int64 tensor, a numpy array, or a (nested) list "
        "of int, str or bytes"
    )


def _flatten_nested(keys: list[Any] | tuple[Any, ...]) -> tuple[tuple[int, ...], list[Any]]:
    shape: tuple[int, ...] = (len(keys),)
    flat = list(keys)
    # numpy is not asked to do this: its fixed-width strings drop trailing zero bytes.
    while flat and isinstance(flat[0], list | tuple):
        width = len(flat[0])
        for inner in flat:
            if not isinstance(inner, list | tuple) or len(inner) != width:
                raise InvalidKeyError(
                    f"nested keys where {_shown(flat[0])} stands beside {_shown(inner)}: "
                    "expected lists of equal length; fill them up with the padding key"
                )
        shape = (*shape, width)
        flat = [key for inner in flat for key in inner]
    return shape, flat


def _kept(flat: Any, padding_key: Key | None) -> Any:
    """(n,) bool: which keys are not the padding key; None where all are kept."""
    if padding_key is None or len(flat) == 0:
        return None
    if isinstance(flat, np.ndarray) and flat.dtype.kind in "iu":
        kept = flat != padding_key if isinstance(padding_key, int) else np.ones(len(flat), bool)
    else:
        kept = np.fromiter((key != padding_key for key in flat), bool, len(flat))
    return None if kept.all() else kept


def _take(flat: Any, indices: Int64s) -> Any:
    return flat[indices] if isinstance(flat, np.ndarray) else [flat[i] for i in indices]


def _shown(value: Any) -> str:
    return f"{value!r:.60}"
