"""Messages about the rows of embedding tables."""

from __future__ import annotations

from typing import NamedTuple

from carls.keys import Keys
from carls.messages.rows import AgeBound, Floats, Meta, Vectors, WriteId


class Lookup(NamedTuple):
    """Read rows of an embedding table. With `create`, unknown keys get rows and each look-up
    counts. `known_producers`: how many producer names the reader has. `reader`: the name under
    which the bank counts what the reader read. `dtype`: the widest that the values may travel as;
    wider ones are rounded to it. Reply: `RowBatch`."""

    table: str
    keys: Keys
    create: bool
    bound: AgeBound
    known_producers: int
    reader: str
    dtype: str = "float32"


class RowBatch(NamedTuple):
    """Rows: `values` (n, dim) of the table's dtype unless narrower ones were asked for, `meta` (n,)
    ROW_META, and the bank's producer names from index `known_producers` of the request on."""

    values: Vectors
    meta: Meta
    producers: tuple[str, ...]


class Assign(NamedTuple):
    """Set rows: values (n, dim) float32 or float16. Duplicate keys are set in order. Reply: `Done`."""

    table: str
    keys: Keys
    values: Vectors
    step: int
    producer: str
    write: WriteId


class PushGradients(NamedTuple):
    """Apply gradients (n, dim) float32 or float16 by the table's optimizer; those of equal keys
    are summed first, in float32; unknown keys get rows. Reply: `Done`."""

    table: str
    keys: Keys
    gradients: Vectors
    step: int
    producer: str
    write: WriteId


class Scan(NamedTuple):
    """Walk an embedding table: up to `limit` rows from `cursor` on (0 at first).
    Rows present during the whole walk come exactly once. Reply: `ScanPage`."""

    table: str
    cursor: int
    limit: int
    known_producers: int


class ScanPage(NamedTuple):
    """Rows of a walk; `cursor` of the next page, or -1 after the last. `keys` is None where
    the page has no rows."""

    keys: Keys | None
    rows: RowBatch
    cursor: int


class Export(NamedTuple):
    """Walk an embedding table with its optimizer's state, as `Scan`. Reply: `ScanPage`, whose rows
    have `values` (n, dim + floats of state): each row's value and the state behind it."""

    table: str
    cursor: int
    limit: int
    known_producers: int


class Import(NamedTuple):
    """Set rows to what they were elsewhere: `records` (n, dim) float32, values alone, or
    (n, dim + floats of state) as of `Export`. `meta` (n,) ROW_META tells their version, count,
    step, age, and producer as an index into `producers`; its truths mean nothing. `producer` is
    who moves them. Duplicate keys are set in order. Reply: `Done`."""

    table: str
    keys: Keys
    records: Floats
    meta: Meta
    producers: tuple[str, ...]
    producer: str
    write: WriteId
