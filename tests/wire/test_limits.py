"""Requests stay under the limit that servers are sure to take."""

from __future__ import annotations

import pytest

from carls.wire.limits import MAX_REQUEST_BYTES, rows_per_request


@pytest.mark.parametrize("row_nbytes", [1, 7, 256, 4096, 262_144, MAX_REQUEST_BYTES])
def test_rows_fill_but_do_not_exceed_a_request(row_nbytes: int) -> None:
    rows = rows_per_request(row_nbytes)
    assert rows * row_nbytes <= MAX_REQUEST_BYTES < (rows + 1) * row_nbytes


@pytest.mark.parametrize("row_nbytes", [0, MAX_REQUEST_BYTES + 1, 10**12])
def test_at_least_one_row_travels(row_nbytes: int) -> None:
    assert rows_per_request(row_nbytes) >= 1
