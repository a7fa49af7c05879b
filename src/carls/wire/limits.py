"""How large one request may be, on the sender's side."""

from __future__ import annotations

#: Bytes of columns that one request may carry; callers split larger ones. The server's own
#: limit is higher, so that a request of this size always fits with its keys and metadata.
MAX_REQUEST_BYTES = 16 * 1024 * 1024


def rows_per_request(row_nbytes: int) -> int:
    """How many rows of `row_nbytes` bytes (key, values and whatever else travels with a row,
    in the larger of the two directions) fit into one request: at least 1."""
    return max(1, MAX_REQUEST_BYTES // max(1, row_nbytes))
