"""Searches over the rows of embedding tables: what they ask, checked, and who answers."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NamedTuple

import numpy as np

from carls import _core
from carls.bank.checks import check_shape, check_size
from carls.bank.columns import element_type
from carls.bank.embeddings import EmbeddingTable
from carls.bank.features import FeatureTable
from carls.bank.keyed import NO_ROOM
from carls.errors import InvalidRequestError, RequestTooLargeError, SpecMismatchError
from carls.keys import MAX_KEY_BYTES, Keys
from carls.messages import Floats, Nearest, NeighbourBatch
from carls.specs import EmbeddingSpec, Where, check_metric
from carls.vectors import LARGEST

#: Rows that one search may ask for, all queries together.
MAX_NEIGHBOURS = 1 << 24

#: Products of a search's elements, queries and rows above which it is worth several threads.
_WORTH_THREADS = 1 << 24
_MOST_THREADS = 8

#: Types of columns that a filter can ask about: integers of so many bytes, bools and texts.
_WIDTHS = {"int32": 4, "int64": 8}
_FILTERED = ("bool", *_WIDTHS, "string")


class _Filter(NamedTuple):
    """A `Where` as the core takes it: rows of the feature table, a column's number, and values as bytes."""

    features: _core.FeatureTable | None
    column: int
    offsets: Any
    data: Any


_NO_FILTER = _Filter(None, 0, None, None)


def nearest(
    table: EmbeddingTable, request: Nearest, where: Where | None, features: FeatureTable | None, now: int
) -> NeighbourBatch:
    """The rows of `table` that are nearest to each query, of those that may be found.

    Args:
        table: that is searched.
        request: what is asked.
        where: the filter in the request, if there is one.
        features: the table that it names.
        now: of the bank's clock.

    Raises:
        InvalidRequestError: the request cannot be answered; the message says why.
    """
    queries = _check(table.name, table.spec, request)
    condition = _NO_FILTER
    if where is not None and features is not None:
        found = _core_filter(table, where, features)
        if found is None:
            return _nothing(len(queries))
        condition = found
    excluded, ends = request.excluded
    if excluded is not None:
        excluded = table.of_type(excluded)
    if table.core is None or len(table) == 0:
        return _nothing(len(queries))
    table.settle()
    k = min(request.k, len(table))
    index = None if request.exact or table.index is None else table.index.for_search(request.metric)
    try:
        first, data, scores, counts = table.core.nearest(
            queries,
            request.metric,
            k,
            None if excluded is None else excluded.integers,
            None if excluded is None else excluded.offsets,
            None if excluded is None else excluded.data,
            None if excluded is None else (ends[:2] if request.shared else ends),
            *condition,
            now,
            _threads(len(table) * queries.size),
            index,
        )
    except _core.BatchTooLarge as error:
        raise RequestTooLargeError(
            f"search of table {table.name!r}: {error} in one reply; ask fewer queries at once, or for "
            "fewer rows",
            table=table.name,
        ) from None
    except NO_ROOM as error:
        raise table.full(error) from None
    keys = (
        Keys("int64", integers=first)
        if data is None
        else Keys(str(table.spec.keys), offsets=first, data=data)
    )
    return NeighbourBatch(keys if len(keys) else None, scores, tuple(counts.tolist()))


def _nothing(queries: int) -> NeighbourBatch:
    return NeighbourBatch(None, np.empty(0, np.float32), (0,) * queries)


def _check(table: str, spec: EmbeddingSpec, request: Nearest) -> Floats:
    """The queries of a request that can be.

    Raises:
        InvalidRequestError: naming what cannot be.
    """
    check_metric(request.metric)
    n, k = len(request.queries), request.k
    if n == 0:
        raise InvalidRequestError(f"no queries for table {table!r}: expected at least one", table=table)
    if k < 1:
        raise InvalidRequestError(f"k={k}: expected at least 1 row a query", table=table)
    queries = check_shape("queries", table, request.queries, n, spec.dim)
    check_size("queries", table, queries, LARGEST["float32"])
    if n * min(k, MAX_NEIGHBOURS + 1) > MAX_NEIGHBOURS:
        raise RequestTooLargeError(
            f"{n} queries for {k} rows each of table {table!r}: expected at most {MAX_NEIGHBOURS} rows in "
            "one search; ask fewer queries at once, or for fewer rows",
            table=table,
            details={"queries": n, "k": k, "limit": MAX_NEIGHBOURS},
        )
    keys, ends = request.excluded
    if (
        len(ends) != n + 1
        or ends[0] != 0
        or np.diff(ends).min() < 0
        or ends[-1] != (0 if keys is None else len(keys))
    ):
        raise InvalidRequestError(
            f"lists of excluded keys for {n} queries of table {table!r} do not fit them", table=table
        )
    return np.ascontiguousarray(queries, np.float32)


def parse_where(text: str) -> Where | None:
    """The filter in a request's text.

    Raises:
        InvalidRequestError: there is none in it.
    """
    if not text:
        return None
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError(f"where={text!r:.60}: expected the JSON text of a filter") from None
    return Where.from_json(facts)


def _core_filter(table: EmbeddingTable, where: Where, features: FeatureTable) -> _Filter | None:
    """The filter for the core; None where the feature table never had a row, so that none can match.

    Raises:
        InvalidRequestError: a column or values that cannot be.
        SpecMismatchError: the feature table has keys of another type.
    """
    spec = features.spec
    types = dict(spec.columns)
    if where.column not in types:
        raise InvalidRequestError(
            f"no column {where.column!r} in table {where.table!r}: it has {sorted(types)}", table=where.table
        )
    column_type, (scalar, is_list) = types[where.column], element_type(types[where.column])
    if is_list or scalar not in _FILTERED:
        raise InvalidRequestError(
            f"column {where.column!r} of table {where.table!r} has type {column_type}: a filter needs one of "
            f"{list(_FILTERED)}",
            table=where.table,
        )
    encoded = [_encode(where, scalar, value) for value in where.values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    data = np.frombuffer(b"".join(encoded), np.uint8)
    if features.core is None:
        return None
    if table.spec.keys not in (None, spec.keys):
        raise SpecMismatchError(
            f"table {where.table!r} has keys of type {spec.keys}, and table {table.name!r} of type "
            f"{table.spec.keys}: a filter needs a feature table with keys of the same type",
            table=where.table,
        )
    return _Filter(features.core, [name for name, _ in spec.columns].index(where.column), offsets, data)


def _encode(where: Where, scalar: str, value: Any) -> bytes:
    """The value as it lies in a row of the column."""
    if scalar == "string" and isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        if len(encoded) <= MAX_KEY_BYTES:
            return encoded
    elif scalar == "bool" and isinstance(value, bool):
        return bytes([value])
    elif scalar in _WIDTHS and isinstance(value, int) and not isinstance(value, bool):
        width = _WIDTHS[scalar]
        if -(1 << (8 * width - 1)) <= value < 1 << (8 * width - 1):
            return value.to_bytes(width, sys.byteorder, signed=True)
    raise InvalidRequestError(
        f"value {value!r:.60} for column {where.column!r} of table {where.table!r}: expected a {scalar}"
        + (f" of at most {MAX_KEY_BYTES} bytes" if scalar == "string" else ""),
        table=where.table,
    )


def _threads(work: int) -> int:
    """Threads for a search of so many products: one for little work, else as many as there are
    cores that this process may use, at most 8."""
    if work < _WORTH_THREADS:
        return 1
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return min(cores, _MOST_THREADS)
