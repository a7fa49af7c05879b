"""Walks over a table: pages of its rows, in no particular order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from carls.bank.embeddings import EmbeddingTable
from carls.bank.features import FeatureTable
from carls.bank.keyed import MAX_PAGE_BYTES
from carls.bank.producers import Producers
from carls.errors import RequestTooLargeError
from carls.keys import Keys
from carls.messages import (
    ROW_META,
    AgeBound,
    Export,
    FeatureBatch,
    FeaturePage,
    FeatureScan,
    Meta,
    RowBatch,
    Scan,
    ScanPage,
)

_ANY_AGE = AgeBound()
#: Rows of a page that are read at once. All of them may be in one stripe, where writers wait meanwhile.
_PIECE_ROWS = 1024


def scan(table: EmbeddingTable, request: Scan, now: int, producers: Producers) -> ScanPage:
    """A page of rows; `now` is the bank's clock."""
    keys, cursor = table.page(request.cursor, request.limit)
    if keys is None:
        values, meta = table.none()
    else:
        values, meta = _by_pieces(keys, lambda piece: table.lookup(piece, False, _ANY_AGE, now))
    keys, values, meta = _present(keys, values, meta)
    return ScanPage(keys, RowBatch(values, meta, producers.names(request.known_producers)), cursor)


def export(table: EmbeddingTable, request: Export, now: int, producers: Producers) -> ScanPage:
    """As `scan`, with the optimizer's state behind the values."""
    most = max(1, MAX_PAGE_BYTES // (4 * table.record_floats + ROW_META.itemsize))
    keys, cursor = table.page(request.cursor, min(request.limit, most))
    if keys is None:
        records, meta = np.empty((0, table.record_floats), np.float32), table.none()[1]
    else:
        records, meta = _by_pieces(keys, lambda piece: table.records(piece, now))
    keys, records, meta = _present(keys, records, meta)
    return ScanPage(keys, RowBatch(records, meta, producers.names(request.known_producers)), cursor)


def feature_scan(table: FeatureTable, request: FeatureScan, now: int, producers: Producers) -> FeaturePage:
    """A page of rows of a feature table."""
    keys, cursor = table.page(request.cursor, request.limit)
    columns, meta = table.none() if keys is None else table.lookup(keys, _ANY_AGE, now)
    keys, columns, meta = _present(keys, columns, meta)
    return FeaturePage(keys, FeatureBatch(columns, meta, producers.names(request.known_producers)), cursor)


def survey(table: EmbeddingTable | FeatureTable, keys: Keys, now: int) -> Meta:
    """Meta (n,) of the rows of `keys`; nothing is created, and no look-up counted."""
    table.rows(keys)
    return np.concatenate(
        [_meta(table, keys[at : at + _PIECE_ROWS], now) for at in range(0, len(keys), _PIECE_ROWS)]
    )


def _meta(table: EmbeddingTable | FeatureTable, keys: Keys, now: int) -> Meta:
    if isinstance(table, EmbeddingTable):
        return table.lookup(keys, False, _ANY_AGE, now)[1]
    try:
        return table.lookup(keys, _ANY_AGE, now)[1]
    except RequestTooLargeError:
        # Their lists are too much for one look-up: by halves, down to a row, which never is.
        if len(keys) == 1:
            raise
    half = len(keys) // 2
    return np.concatenate([_meta(table, keys[:half], now), _meta(table, keys[half:], now)])


def _by_pieces(keys: Keys, read: Callable[[Keys], tuple[Any, Meta]]) -> tuple[Any, Meta]:
    """What `read` gives of all keys: arrays with an element for each."""
    pieces = [read(keys[at : at + _PIECE_ROWS]) for at in range(0, len(keys), _PIECE_ROWS)]
    if len(pieces) == 1:
        return pieces[0]
    rows, meta = zip(*pieces, strict=True)
    return np.concatenate(rows), np.concatenate(meta)


def _present(keys: Keys | None, rows: Any, meta: Meta) -> tuple[Keys | None, Any, Meta]:
    """Those of a page that have a row: one may have gone between its key's reading and its own."""
    if keys is None or meta["found"].all():
        return keys, rows, meta
    kept = meta["found"].nonzero()[0]
    rows = rows[kept] if isinstance(rows, np.ndarray) else rows.take(kept)
    return (keys.take(kept) if len(kept) else None), rows, meta[kept]
