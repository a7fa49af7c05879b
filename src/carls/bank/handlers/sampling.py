"""Requests for candidates from embedding tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from carls.bank.embeddings import EmbeddingTable
from carls.bank.handlers.family import TableFamily
from carls.bank.sampling import Wanted
from carls.errors import InvalidRequestError
from carls.messages import Reply, Sample, SampleBatch
from carls.specs import Strategy
from carls.vectors import as_dtype, check_dtype


class SamplingHandlers(TableFamily):
    """Draws candidates."""

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {Sample: self._sample}

    def _sample(self, request: Sample) -> SampleBatch:
        values = request.dtype != "none"
        if values:
            check_dtype("dtype", request.dtype)
        table = self._catalog.find_as(request.table, EmbeddingTable)
        drawn = table.sample(_wanted(request), values, self._writes.clock.ticks())
        vectors = drawn.values
        if request.dtype == "float16":
            vectors = as_dtype(vectors, "float16")
        return SampleBatch(drawn.keys, vectors, drawn.expected, drawn.found)


def _wanted(request: Sample) -> Wanted:
    """What the request asks for.

    Raises:
        InvalidRequestError: it cannot be; names the field.
    """
    n, lengths = request.n, np.asarray(request.positives, np.int64)
    if n < 1:
        raise InvalidRequestError(
            f"n={n}: expected 1 or more candidates for each context", table=request.table
        )
    if len(lengths) == 0 or lengths.min() < 0 or lengths.sum() > len(request.keys):
        raise InvalidRequestError(
            f"positives={str(request.positives)[:60]} of {len(request.keys)} keys: expected how many each of "
            "one or more contexts has",
            table=request.table,
        )
    if lengths.max() > n:
        context = int(lengths.argmax())
        raise InvalidRequestError(
            f"context {context} has {lengths[context]} positives: expected at most n={n}, which counts "
            "positives and negatives",
            table=request.table,
        )
    for name in ("seed", "counter"):
        if getattr(request, name) < 0:
            raise InvalidRequestError(
                f"{name}={getattr(request, name)}: expected 0 or more", table=request.table
            )
    given = int(lengths.sum())
    return Wanted(
        n=n,
        strategy=Strategy.of(request.strategy),
        positives=request.keys[:given] if given else None,
        lengths=lengths,
        exclude=request.keys[given:] if given < len(request.keys) else None,
        unique=request.unique,
        hits=request.hits,
        seed=request.seed,
        counter=request.counter,
    )
