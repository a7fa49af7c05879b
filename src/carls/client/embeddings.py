"""Embedding tables, as their users see them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any, cast

import numpy as np

from carls.bank.checks import check_gradients, check_shape, check_size, check_step, check_values
from carls.bank.keyed import MAX_PAGE_ROWS
from carls.client.arguments import age_bound, as_floats, integer, truth
from carls.client.prefetch import Prefetched
from carls.client.results import Rows
from carls.client.sampling import SamplingTable
from carls.client.search import SearchTable
from carls.client.split import split
from carls.client.tabular import Held, Moved
from carls.client.vector_columns import VectorColumns
from carls.errors import (
    BankRestartedError,
    ClosedError,
    DeadlineExceededError,
    SpecMismatchError,
)
from carls.keys import Keys
from carls.messages import (
    ROW_META,
    AgeBound,
    Assign,
    Export,
    Import,
    Lookup,
    PushGradients,
    Reply,
    RowBatch,
    Scan,
    ScanPage,
    SetLearningRate,
    Vectors,
)
from carls.specs import EmbeddingSpec, Optimizer
from carls.vectors import LARGEST, as_dtype, check_dtype


class EmbeddingTable(SamplingTable, SearchTable):
    """A table of vectors with an optimizer inside the bank.

    Attributes:
        wire_dtype: the widest dtype that values and gradients of this handle travel as.
    """

    def __init__(self, bank: Any, name: str, spec: EmbeddingSpec, wire_dtype: str = "float32") -> None:
        self.wire_dtype = check_dtype("wire_dtype", wire_dtype)
        self._prefetched = Prefetched[Rows]()
        super().__init__(bank, name, spec)

    @property
    def dim(self) -> int:
        """Elements of a row."""
        return self.spec.dim

    def lookup(
        self,
        keys: Any,
        create: bool = True,
        at_step: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Rows:
        """Read the rows of n keys.

        Args:
            keys: list of int, str or bytes, numpy or Arrow array, or `Keys`.
            create: whether unknown keys get a row with its initial value. With False they come
                back as zeros with `found` False, nothing is created, and no row's `count` grows. A
                table with limits or admission may refuse: such keys come with their initial value
                and `found` False.
            at_step: the reader's training step.
            max_age_steps: rows whose step is below `at_step - max_age_steps` are not `fresh`.
            max_age_s: rows written longer ago, in seconds, are not `fresh`.
            timeout_s: deadline; default the bank's.

        Returns:
            `Rows` with values (n, dim) of the table's dtype, rounded on their way if `wire_dtype` is
            narrower, and what is known about each row.

        Raises:
            InvalidKeyError: keys that cannot be, or of another type than the table's.
            DeadlineExceededError, UnavailableError: no reply in time.
            BankRestartedError: once, after the bank was replaced by an empty one.
        """
        batch, bound = Keys.of(keys), age_bound(at_step, max_age_steps, max_age_s)
        create = truth("create", create)
        if self._prefetched:
            ahead = self._prefetched.take((batch, create, bound))
            if ahead is not None:
                return self._await(ahead, timeout_s)
        return self._read(timeout_s, lambda left: self._lookup(batch, create, bound, left))

    def lookup_async(
        self,
        keys: Any,
        create: bool = True,
        at_step: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Future[Rows]:
        """As `lookup`, in the background."""
        batch, bound = Keys.of(keys), age_bound(at_step, max_age_steps, max_age_s)
        create = truth("create", create)
        return self._read_async(timeout_s, lambda left: self._lookup(batch, create, bound, left))

    def prefetch(
        self,
        keys: Any,
        create: bool = True,
        at_step: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
        fresh: bool = False,
    ) -> None:
        """Start a look-up whose rows the next `lookup` with equal arguments takes.

        The rows may miss writes made after this call, and as many before it as look-ups are
        under way ahead. With `fresh` they have all writes made before it. At most 8 are kept;
        older ones that nobody took are dropped.
        """
        batch, bound = Keys.of(keys), age_bound(at_step, max_age_steps, max_age_s)
        create = truth("create", create)
        self._prefetched.start(
            (batch, create, bound),
            lambda ahead: self._read_async(
                None,
                lambda left: self._fetch_ahead(batch, create, bound, left),
                lag=0 if fresh else ahead + 1,
            ),
        )

    def assign(self, keys: Any, values: Any, step: int = -1, timeout_s: float | None = None) -> None:
        """Set the rows of n keys.

        Args:
            keys: as for `lookup`. Where a key repeats, its last value stays.
            values: (n, dim) float32 or float16, finite, at most 65504 in size where the table's dtype
                or `wire_dtype` is float16, and 1e15 where the table has an optimizer, whose state
                stays as it is.
            step: the training step that the values come from; -1: not said.
            timeout_s: deadline, for each 16 MiB of a large batch; default the bank's.

        Raises:
            InvalidValueError: wrong shape or dtype, NaN, infinity or too large; nothing was changed.
            OutcomeUnknownError: no reply in time; `flush()` repeats the write safely.
            DeadlineExceededError, UnavailableError: nothing was applied.
        """
        self._write(self._writes(Assign, "values", keys, values, step), timeout_s)

    def assign_async(
        self, keys: Any, values: Any, step: int = -1, timeout_s: float | None = None
    ) -> Future[list[Reply]]:
        """As `assign`, in the background and in order."""
        return self._write_async(self._writes(Assign, "values", keys, values, step), timeout_s)

    def push_gradients(self, keys: Any, grads: Any, step: int = -1, timeout_s: float | None = None) -> None:
        """Apply gradients to the rows of n keys by the table's optimizer, inside the bank.

        Args:
            keys: as for `lookup`; gradients of equal keys are summed first; unknown keys get a row.
            grads: (n, dim) float32 or float16, finite, at most 1e15 / n in size, or 65504 where `wire_dtype`
                is float16. They travel as they are, or narrower; the optimizer computes in float32.
            step: the trainer's step; -1: not said.
            timeout_s: deadline, for each 16 MiB of a large batch; default the bank's.

        Raises:
            InvalidValueError: wrong shape or dtype, NaN, infinity or too large; nothing was changed.
            InvalidRequestError: the table has no optimizer.
            OutcomeUnknownError: no reply in time; `flush()` repeats the push safely.
            DeadlineExceededError, UnavailableError: nothing was applied.
        """
        self._write(self._writes(PushGradients, "gradients", keys, grads, step), timeout_s)

    def push_gradients_async(
        self, keys: Any, grads: Any, step: int = -1, timeout_s: float | None = None
    ) -> Future[list[Reply]]:
        """As `push_gradients`, in the background and in order. Waits only when many are queued.

        The arrays must not be changed until the future is done.
        """
        return self._write_async(self._writes(PushGradients, "gradients", keys, grads, step), timeout_s)

    def set_learning_rate(self, lr: float, step: int = -1, timeout_s: float | None = None) -> None:
        """Change the learning rate of the table's optimizer, for everybody's pushes to come.

        It takes its turn among this handle's writes. `describe().learning_rates` tells who set which
        rate when. The table can still be opened with the rate that it was made with, and with
        the rate of now, but with no other. Setting the rate of now changes nothing.

        Args:
            lr: 0 to 1e6.
            step: the trainer's step; -1: not said.
            timeout_s: deadline; default the bank's.

        Raises:
            InvalidSpecError: a rate that cannot be.
            InvalidRequestError: the table has no optimizer.
        """
        self._write([self._rate(lr, step)], timeout_s)

    def set_learning_rate_async(
        self, lr: float, step: int = -1, timeout_s: float | None = None
    ) -> Future[list[Reply]]:
        """As `set_learning_rate`, in the background and in order."""
        return self._write_async([self._rate(lr, step)], timeout_s)

    def scan(self, batch: int = 4096, timeout_s: float | None = None) -> Iterator[tuple[Keys, Rows]]:
        """Walk all rows, `batch` at a time, in no particular order.

        Rows present during the whole walk come exactly once. Scanning counts as no look-up. Values
        come as they are in the table, whatever `wire_dtype` is.
        """
        return self._walk(integer("batch", batch, 1), False, timeout_s)

    def __reduce__(self) -> tuple[Any, ...]:
        reopen, arguments = super().__reduce__()
        return reopen, (*arguments, self.wire_dtype)

    # --- requests ---

    @property
    def _row_nbytes(self) -> int:
        return np.dtype(self.spec.dtype).itemsize * self.dim + ROW_META.itemsize

    def _lookup(self, keys: Keys, create: bool, bound: AgeBound, timeout_s: float) -> Rows:
        parts = split(keys, self._row_nbytes)
        if len(parts) == 1:
            return self._lookup_part(keys, create, bound, timeout_s)
        rows = [self._lookup_part(keys[part], create, bound, timeout_s) for part in parts]
        meta = np.concatenate([part._meta for part in rows])
        return Rows(meta, rows[-1]._producers, np.concatenate([part.values for part in rows]))

    def _lookup_part(self, keys: Keys, create: bool, bound: AgeBound, timeout_s: float) -> Rows:
        producers = self.bank._producers
        known = producers.known
        request = Lookup(self.name, keys, create, bound, known, self.bank.producer, self.wire_dtype)
        batch = cast("RowBatch", self._send(request, timeout_s))
        return Rows(batch.meta, producers.learn(known, batch.producers), self._opened(batch.values))

    def _opened(self, values: Vectors) -> Vectors:
        """Values as a look-up gives them: of the dtype that the table was opened with."""
        if values.shape[1] == self.dim:
            if values.dtype == self.spec.dtype:
                return values
            if self.wire_dtype == "float16" and values.dtype == np.float16:
                return cast("Vectors", as_dtype(values, self.spec.dtype))
        raise SpecMismatchError(
            f"table {self.name!r} has rows of dim {values.shape[1]} and dtype {values.dtype} now, and this "
            f"handle opened it with dim {self.dim} and dtype {self.spec.dtype}: it was dropped and made "
            "anew; open it again",
            table=self.name,
        )

    def _walk(self, batch: int, state: bool, timeout_s: float | None) -> Iterator[tuple[Keys, Rows]]:
        """All rows; with `state`, the optimizer's behind their values."""
        request = Export if state else Scan
        row_nbytes = self._row_nbytes + (4 * self.spec.state_floats if state else 0)
        limit = min(batch, max(1, (8 << 20) // row_nbytes), MAX_PAGE_ROWS)
        cursor = 0
        while cursor >= 0:
            keys, rows, cursor = self._read(timeout_s, partial(self._page, request, cursor, limit))
            if keys is not None:
                yield keys, rows

    def _page(
        self, request: type[Scan | Export], cursor: int, limit: int, timeout_s: float
    ) -> tuple[Keys | None, Rows, int]:
        producers = self.bank._producers
        known = producers.known
        page = cast("ScanPage", self._send(request(self.name, cursor, limit, known), timeout_s))
        batch = page.rows
        return page.keys, Rows(batch.meta, producers.learn(known, batch.producers), batch.values), page.cursor

    def _held(self, spec: EmbeddingSpec, state: bool) -> Held:
        return VectorColumns(self.name, spec, state)

    def _moves(self, moved: Moved, step: int) -> Any:
        keys, records, meta, producers = moved
        parts = split(keys, 4 * records.shape[1] + ROW_META.itemsize)
        if meta is None:
            return [self._builder(Assign, keys[part], records[part], check_step(step)) for part in parts]
        who = self.bank.producer
        return [
            partial(Import, self.name, keys[part], records[part], meta[part], producers, who)
            for part in parts
        ]

    def _writes(
        self, request: type[Assign | PushGradients], what: str, keys: Any, matrix: Any, step: int
    ) -> Any:
        """Builders of the parts of one call: one nearly always, more for very large batches."""
        batch, step = Keys.of(keys), check_step(step)
        array = check_shape(what, self.name, as_floats(what, matrix), len(batch), self.dim)
        if array.dtype != self.wire_dtype and self.wire_dtype == "float16":
            # Refused here, since what is too large travels as the largest float16.
            array = as_dtype(check_size(what, self.name, array, LARGEST["float16"]), "float16")
        parts = split(batch, array.itemsize * self.dim)
        if len(parts) == 1:
            return [self._builder(request, batch, array, step)]
        # The bank checks each part; a bad row in a later one must not find the first applied.
        if request is Assign:
            check_values(self.name, array, len(batch), self.dim, self.spec.largest)
        else:
            check_gradients(self.name, array, len(batch), self.dim)
        return [self._builder(request, batch[part], array[part], step) for part in parts]

    def _builder(self, request: type[Assign | PushGradients], keys: Keys, array: Vectors, step: int) -> Any:
        return partial(request, self.name, keys, array, step, self.bank.producer)

    def _rate(self, lr: float, step: int) -> Any:
        """A builder of the request; refuses what cannot be before it is queued."""
        rate = Optimizer(lr=lr).lr
        return partial(SetLearningRate, self.name, rate, check_step(step), self.bank.producer)

    def _forget_rows(self) -> None:
        self._prefetched.drop()

    def _fetch_ahead(self, keys: Keys, create: bool, bound: AgeBound, timeout_s: float) -> Rows:
        try:
            return self._lookup(keys, create, bound, timeout_s)
        except BankRestartedError as error:
            # Nobody may ever take these rows, and a restart has to be told.
            self._writer.report(error)
            raise

    def _await(self, ahead: Future[Rows], timeout_s: float | None) -> Rows:
        """The rows of a look-up that was started ahead."""
        self._check()
        timeout = self._timeout(timeout_s)
        try:
            return ahead.result(timeout)
        except CancelledError:
            raise ClosedError(f"table {self.name!r} was closed", table=self.name) from None
        except FutureTimeoutError:
            raise DeadlineExceededError(
                f"table {self.name!r}: the rows fetched ahead were not there within {timeout:g} s",
                table=self.name,
            ) from None
