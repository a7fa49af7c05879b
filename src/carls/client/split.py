"""Splitting calls that are too large for one request."""

from __future__ import annotations

import numpy as np

from carls.keys import Keys
from carls.messages import Int64s
from carls.wire.limits import MAX_REQUEST_BYTES


def split(keys: Keys, row_nbytes: int) -> list[slice]:
    """Parts of the batch, whose requests and replies stay within the size limit when each row
    takes `row_nbytes` bytes beside its key; a single part nearly always."""
    n = len(keys)
    if keys.nbytes + n * row_nbytes <= MAX_REQUEST_BYTES:
        return [slice(0, n)]
    return split_uneven(keys, np.full(n, row_nbytes, np.int64))


def split_uneven(keys: Keys, row_nbytes: Int64s) -> list[slice]:
    """As `split`, where row i takes row_nbytes[i] ((n,) int64) bytes beside its key.

    Each part has as many rows as fit; a row over the limit is a part of its own.
    """
    key_nbytes = 8 if keys.offsets is None else np.diff(keys.offsets) + 4
    ends = np.cumsum(row_nbytes + key_nbytes)
    parts: list[slice] = []
    start, before = 0, 0
    while start < len(ends):
        fitting = int(np.searchsorted(ends, before + MAX_REQUEST_BYTES, side="right"))
        stop = max(fitting, start + 1)
        parts.append(slice(start, stop))
        start, before = stop, int(ends[stop - 1])
    return parts
