"""Messages about the rows of feature tables."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from carls.keys import Keys
from carls.messages.rows import AgeBound, Meta, WriteId


class FeatureLookup(NamedTuple):
    """Read rows of a feature table; never creates. Reply: `FeatureBatch`."""

    table: str
    keys: Keys
    bound: AgeBound
    known_producers: int
    reader: str


class FeatureBatch(NamedTuple):
    """Rows: `columns` is a record batch of the table's columns without nulls (zeros, "" and
    empty lists where not found), `meta` and `producers` as in `RowBatch`."""

    columns: pa.RecordBatch
    meta: Meta
    producers: tuple[str, ...]


class FeatureAssign(NamedTuple):
    """Set rows: `columns` is a record batch with exactly the table's columns. Reply: `Done`."""

    table: str
    keys: Keys
    columns: pa.RecordBatch
    step: int
    producer: str
    write: WriteId


class FeatureScan(NamedTuple):
    """Walk a feature table, as `Scan`. Reply: `FeaturePage`."""

    table: str
    cursor: int
    limit: int
    known_producers: int


class FeaturePage(NamedTuple):
    """As `ScanPage`, for a feature table."""

    keys: Keys | None
    rows: FeatureBatch
    cursor: int


class FeatureImport(NamedTuple):
    """Set rows of a feature table to what they were elsewhere, as `Import`; `columns` as of
    `FeatureAssign`. Reply: `Done`."""

    table: str
    keys: Keys
    columns: pa.RecordBatch
    meta: Meta
    producers: tuple[str, ...]
    producer: str
    write: WriteId
