"""Splitting calls that are too large for one request."""

from __future__ import annotations

import numpy as np

from carls.keys import Keys
from carls.wire.limits import MAX_REQUEST_BYTES, rows_per_request


def split(keys: Keys, row_nbytes: int) -> list[slice]:
    """Parts of the batch, whose requests and replies stay within the size limit when each row
    takes `row_nbytes` bytes beside its key; a single part nearly always."""
    n = len(keys)
    if keys.nbytes + n * row_nbytes <= MAX_REQUEST_BYTES:
        return [slice(0, n)]
    key_nbytes = 8 if keys.offsets is None else int(np.diff(keys.offsets).max()) + 4
    rows = rows_per_request(row_nbytes + key_nbytes)
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
