"""Candidates from embedding tables."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np

from carls.client.arguments import integer, some_keys, truth
from carls.client.handle import TableHandle
from carls.client.results import Samples
from carls.errors import InvalidKeyError, InvalidRequestError
from carls.keys import Keys, concat
from carls.messages import Sample, SampleBatch, Vectors
from carls.specs import EmbeddingSpec, Strategy

_NO_KEYS = Keys("int64", integers=np.empty(0, np.int64))


class SamplingTable(TableHandle[EmbeddingSpec]):
    """What embedding tables can do with rows drawn by chance."""

    wire_dtype: str

    def sample(
        self,
        n: int,
        strategy: Any = "uniform",
        positives: Any = None,
        unique: bool = False,
        exclude: Any = None,
        hits: bool = False,
        seed: int | tuple[int, int] | None = None,
        values: bool = True,
        timeout_s: float | None = None,
    ) -> Samples:
        """Draw candidates, such as the negatives of a sampled softmax.

        Nothing is created, and no row's `count` grows. The rows are there when they are read, but ranks and
        counts may be some look-ups old: docs/sampling.md says how many.

        Args:
            n: candidates of each context, positives included; 1 or more.
            strategy: "uniform", "log_uniform" or "frequency", or an object such as
                `carls.Frequency(alpha=0.75)`.
            positives: for each context its own keys, 0 to n of them: a list of lists, or an integer array
                (contexts, m). They come first in its row, and are not drawn for it unless `hits`. Without it
                there is one context.
            unique: whether a context's negatives are drawn without replacement.
            exclude: keys that are drawn for no context, as for `lookup`. Those without a row change nothing.
            hits: whether a context's positives may be drawn for it too, as accidental hits. Then what is
                expected does not depend on them: as the losses of `carls.torch` want it.
            seed: from 0 on; or a pair (seed, counter), other draws for each. The same gives the same
                candidates as long as nothing changes in the table. None: chance.
            values: whether the rows' values are wanted.
            timeout_s: deadline; default the bank's.

        Returns:
            `Samples` of shape (contexts, n).

        Raises:
            InvalidRequestError: arguments that cannot be, or fewer rows than negatives; without `unique`,
                none at all. The message says how many there are.
            InvalidKeyError: keys that cannot be, or of another type than the table's.
            RequestTooLargeError: the candidates would be more than a reply can be.
            DeadlineExceededError, UnavailableError: no reply in time.
        """
        return self._read(
            timeout_s, self._sampling(n, strategy, positives, unique, exclude, hits, seed, values)
        )

    def sample_async(
        self,
        n: int,
        strategy: Any = "uniform",
        positives: Any = None,
        unique: bool = False,
        exclude: Any = None,
        hits: bool = False,
        seed: int | tuple[int, int] | None = None,
        values: bool = True,
        timeout_s: float | None = None,
    ) -> Future[Samples]:
        """As `sample`, in the background."""
        call = self._sampling(n, strategy, positives, unique, exclude, hits, seed, values)
        return self._read_async(timeout_s, call)

    def _opened(self, values: Vectors) -> Vectors:
        """Values as a look-up gives them: of the dtype that the table was opened with."""
        raise NotImplementedError

    def _sampling(
        self,
        n: int,
        strategy: Any,
        positives: Any,
        unique: bool,
        exclude: Any,
        hits: bool,
        seed: Any,
        values: bool,
    ) -> Callable[[float], Samples]:
        """The call, once its arguments are known to be good."""
        given = _positives(positives)
        first, counter = _stream(seed)
        request = Sample(
            table=self.name,
            n=integer("n", n, 1),
            strategy=Strategy.of(strategy).to_json(),
            keys=_joined(given.keys, some_keys(exclude)),
            positives=given.lengths,
            unique=truth("unique", unique),
            hits=truth("hits", hits),
            seed=first,
            counter=counter,
            dtype=self.wire_dtype if truth("values", values) else "none",
        )

        def call(timeout_s: float) -> Samples:
            batch = cast("SampleBatch", self._send(request, timeout_s))
            shape = (len(given.lengths), request.n)
            values = np.empty((*shape, 0), self.spec.dtype)
            if batch.values is not None:
                values = self._opened(batch.values).reshape(*shape, -1)
            is_positive = np.arange(request.n) < np.array(given.lengths)[:, None]
            expected, found = batch.expected.reshape(shape), batch.found.reshape(shape)
            return Samples(shape, batch.keys, values, is_positive, expected, found)

        return call


class _Positives(NamedTuple):
    keys: Keys | None
    lengths: tuple[int, ...]


def _positives(positives: Any) -> _Positives:
    """All contexts' positives, and how many each has.

    Raises:
        InvalidRequestError: it is not a list for each context.
    """
    if positives is None:
        return _Positives(None, (0,))
    if isinstance(positives, np.ndarray) and positives.ndim == 2:
        keys = None if positives.size == 0 else Keys.of(positives.ravel())
        lengths = (positives.shape[1],) * len(positives)
    else:
        rows = _rows(positives)
        lengths = tuple([len(row) for row in rows])
        keys = Keys.of(list(chain.from_iterable(rows))) if sum(lengths) else None
    if not lengths:
        raise InvalidRequestError("positives of no context: expected a list of keys for each, or None")
    return _Positives(keys, lengths)


def _rows(positives: Any) -> list[list[Any]]:
    if isinstance(positives, list | tuple) and not any(isinstance(row, str | bytes) for row in positives):
        try:
            return [
                list(row) if isinstance(row, list | tuple | Keys) else list(np.asarray(row).tolist())
                for row in positives
            ]
        except (TypeError, ValueError):
            pass
    raise InvalidRequestError(
        f"positives={positives!r:.60}: expected a list of keys for each context, such as [['a'], ['b', 'c']] "
        "or an integer array (contexts, m)"
    )


def _joined(positives: Keys | None, exclude: Keys | None) -> Keys:
    batches = [keys for keys in (positives, exclude) if keys is not None]
    if len({keys.type for keys in batches}) > 1:
        raise InvalidKeyError(
            f"positives of type {batches[0].type} and exclude of type {batches[1].type}: expected one type"
        )
    return concat(batches) if batches else _NO_KEYS


def _stream(seed: Any) -> tuple[int, int]:
    """Seed and counter of the draws."""
    if seed is None:
        return secrets.randbits(63), secrets.randbits(63)
    if isinstance(seed, list | tuple):
        if len(seed) != 2:
            raise InvalidRequestError(f"seed={seed!r:.60}: expected an integer, or a pair (seed, counter)")
        return integer("seed", seed[0], 0), integer("counter", seed[1], 0)
    return integer("seed", seed, 0), 0
