"""Searches over the rows of embedding tables, as their users see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import numpy as np

from carls.bank.checks import check_shape, check_size
from carls.client.arguments import as_floats, integer, some_keys
from carls.client.portable import PortableTable
from carls.client.results import Neighbours
from carls.errors import InvalidRequestError
from carls.keys import Keys, concat
from carls.messages import Floats, KeyLists, Nearest, NeighbourBatch, SetIndex
from carls.specs import IVF, EmbeddingSpec, Where, check_metric
from carls.vectors import LARGEST
from carls.wire.limits import rows_per_request

#: Bytes that a neighbour is taken to need on the wire, with its key.
_NEIGHBOUR_NBYTES = 64

#: What `index=` may be.
INDEXES = ("auto", "exact")

#: What may be one query's keys among lists of excluded ones.
_LISTS = (list, tuple, np.ndarray, Keys)


class SearchTable(PortableTable[EmbeddingSpec]):
    """Verbs that find rows by what is in them."""

    def nearest(
        self,
        queries: Any,
        k: int = 10,
        metric: str = "dot",
        exclude: Any = None,
        where: Where | None = None,
        index: str = "auto",
        timeout_s: float | None = None,
    ) -> Neighbours:
        """The k rows nearest to each of n queries, of the rows that are there now.

        Rows of equal score come in the order of their keys. Nothing is created, and no row's `count` grows.

        Args:
            queries: (n, dim) numbers, finite in float32.
            k: rows for each query, at least 1. If there are fewer, `counts` of the result says so.
            metric: "dot", "cosine" (0 where the row or the query is zero) or "squared_l2", computed in
                float32, whatever the table's dtype.
            exclude: keys that no query may get, or n lists of keys, one for each query (a list may
                be empty).
            where: `carls.Where("labels", "category", equals=3)`: only rows whose key has such a row in a
                feature table of the same bank, as it is while the bank searches.
            index: "auto": through the table's index if it has one for this metric; "exact": by
                looking at every row.
            timeout_s: deadline, for each 16 MiB of a large call; default the bank's.

        Returns:
            `Neighbours` with `.keys`, `.scores` (n, k) and `.counts` (n,).

        Raises:
            InvalidRequestError: arguments that cannot be, a `where` that does not fit its table.
            UnknownTableError: no table of the name in `where`.
            DeadlineExceededError, UnavailableError: no reply in time.
        """
        parts, width = self._searches(queries, k, metric, exclude, where, index)
        return self._read(timeout_s, lambda left: self._nearest(parts, width, left))

    def nearest_async(
        self,
        queries: Any,
        k: int = 10,
        metric: str = "dot",
        exclude: Any = None,
        where: Where | None = None,
        index: str = "auto",
        timeout_s: float | None = None,
    ) -> Future[Neighbours]:
        """As `nearest`, in the background."""
        parts, width = self._searches(queries, k, metric, exclude, where, index)
        return self._read_async(timeout_s, lambda left: self._nearest(parts, width, left))

    def set_index(self, index: IVF | str | None, timeout_s: float | None = None) -> None:
        """Give the table an index, for everybody's searches by its metric, in place of the one that it has.

        It is built in the background and follows the rows; searches before that look at every row.
        Tables of fewer than 10000 rows are searched so anyway. The same index again changes
        nothing. It takes at most half a core, and 8 bytes a row.

        Args:
            index: `carls.IVF(metric=..., probes=...)`, or "ivf" for its defaults; None: no index.
            timeout_s: deadline; default the bank's.

        Raises:
            InvalidRequestError: an index that cannot be.
        """
        wanted = None if index is None else IVF.of(index).to_json()
        self._read(timeout_s, lambda left: self._send(SetIndex(self.name, wanted), left))

    # --- requests ---

    def _searches(
        self, queries: Any, k: int, metric: str, exclude: Any, where: Where | None, index: str
    ) -> tuple[list[Nearest], int]:
        """The requests of a call, one nearly always, and its k."""
        vectors = self._queries(queries)
        width = integer("k", k, 1, 2**31 - 1)
        if where is not None and not isinstance(where, Where):
            raise InvalidRequestError(
                f"where={where!r:.60}: expected a filter such as carls.Where('labels', 'category', equals=3)"
            )
        if not isinstance(index, str) or index not in INDEXES:
            raise InvalidRequestError(f"index={index!r:.60}: expected one of {list(INDEXES)}")
        excluded, shared = key_lists(exclude, len(vectors))
        told = "" if where is None else json.dumps(where.to_json())
        request = partial(
            Nearest, shared=shared, k=width, metric=check_metric(metric), where=told, exact=index == "exact"
        )
        each = rows_per_request(max(4 * self.spec.dim, _NEIGHBOUR_NBYTES * width))
        return [
            request(self.name, vectors[start : start + each], part_of(excluded, shared, start, each))
            for start in range(0, len(vectors), each)
        ], width

    def _queries(self, queries: Any) -> Floats:
        vectors = as_floats("queries", queries)
        if vectors.ndim != 2 or len(vectors) == 0:
            raise InvalidRequestError(
                f"queries of shape {vectors.shape} for table {self.name!r}: expected (n, {self.spec.dim}), "
                "at least one query; write queries[None] for a single vector",
                table=self.name,
            )
        if vectors.dtype == np.float64:
            vectors = vectors.astype(np.float32)
        vectors = check_shape("queries", self.name, vectors, len(vectors), self.spec.dim)
        check_size("queries", self.name, vectors, LARGEST["float32"])
        return np.ascontiguousarray(vectors, np.float32)

    def _nearest(self, parts: Sequence[Nearest], k: int, timeout_s: float) -> Neighbours:
        found = [cast("NeighbourBatch", self._send(part, timeout_s)) for part in parts]
        counts = np.concatenate([np.array(one.counts, np.int64) for one in found])
        worst = np.inf if parts[0].metric == "squared_l2" else -np.inf
        scores = np.full((len(counts), k), worst, np.float32)
        scores[np.arange(k) < counts[:, None]] = np.concatenate([one.scores for one in found])
        keys = [one.keys for one in found if one.keys is not None]
        nothing = Keys("int64", integers=np.empty(0, np.int64))
        return Neighbours(concat(keys) if keys else nothing, scores, counts)


def key_lists(exclude: Any, n: int) -> tuple[KeyLists, bool]:
    """What `exclude=` says for n queries, and whether it is one list for all of them.

    Raises:
        InvalidRequestError: lists of another number than n, or keys that cannot be.
    """
    lists = [one for one in exclude if isinstance(one, _LISTS)] if isinstance(exclude, list | tuple) else []
    if not lists:
        keys = some_keys(exclude)
        if keys is None:
            return KeyLists.none(n), False
        return KeyLists(keys, np.array([0] + [len(keys)] * n, np.int32)), True
    others = len(exclude) - len(lists)
    if len(lists) != n or others:
        raise InvalidRequestError(
            f"exclude has {len(lists)} lists{f' and {others} other elements' if others else ''} for {n} "
            "queries: expected a list for each, or one flat list for all"
        )
    batches = [Keys.of(one) if len(one) else None for one in exclude]
    given = [batch for batch in batches if batch is not None]
    ends = np.cumsum([0, *(0 if batch is None else len(batch) for batch in batches)], dtype=np.int32)
    return KeyLists(concat(given) if given else None, ends), False


def part_of(lists: KeyLists, shared: bool, start: int, count: int) -> KeyLists:
    """The lists of `count` queries from `start` on, or fewer at the end; the first is for all if `shared`."""
    n = min(count, len(lists.ends) - 1 - start)
    if shared or lists.keys is None:
        return KeyLists(lists.keys, lists.ends[: n + 1])
    ends = lists.ends[start : start + n + 1]
    keys = lists.keys[int(ends[0]) : int(ends[-1])]
    return KeyLists(keys if len(keys) else None, ends - ends[0])
