"""A bank as its users see it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

from carls.client.arguments import seconds
from carls.client.drops import Drops
from carls.client.embeddings import EmbeddingTable
from carls.client.features import FeatureTable
from carls.client.handle import TableHandle
from carls.client.leases import Lease
from carls.client.local import LocalTransport
from carls.client.memories import GaussianMemory
from carls.client.models import Models
from carls.client.process import check_process
from carls.client.producers import KnownProducers
from carls.client.tasks import TaskTable
from carls.client.transport import Transport
from carls.errors import (
    BankRestartedError,
    ClosedError,
    InvalidRequestError,
    InvalidSpecError,
)
from carls.messages import (
    BankInfo,
    BankStatus,
    DescribeBank,
    DescribeTable,
    FetchStatus,
    ListTables,
    Reply,
    Request,
    TableInfo,
)
from carls.specs import (
    Admission,
    Aggregation,
    Algorithm,
    EmbeddingSpec,
    Eviction,
    FeatureSpec,
    GaussianMemorySpec,
    Initializer,
    Normal,
    Optimizer,
    Regularizer,
    TableSpec,
    TaskSpec,
    check_name,
    spec_from_json,
)

H = TypeVar("H", bound=TableHandle[Any])


class Bank:
    """A knowledge bank: tables by name, and models.

    Attributes:
        url: where it is.
        producer: the name that this client's writes carry, and under which its look-ups count.
        timeout_s: deadline of calls that name none, in seconds.
        models: its checkpoints.
    """

    def __init__(self, transport: Transport, producer: str, timeout_s: float) -> None:
        self._transport = transport
        self._process = os.getpid()
        self._handles: weakref.WeakSet[TableHandle[Any]] = weakref.WeakSet()
        self._leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._producers = KnownProducers()
        self._lock = threading.Lock()
        self._closed = False
        # At the end of the program too: a server in the same process waits for its clients' streams.
        self._finalizer = weakref.finalize(self, transport.close)
        self.url = transport.url
        self.producer = producer
        self.timeout_s = timeout_s
        if not transport.bank_id:
            self._learn_id()
        self.models = Models(self)
        self._drops = Drops(self)

    @property
    def id(self) -> str:
        """32 hex digits, new whenever the bank starts empty."""
        return self._transport.bank_id

    def embeddings(
        self,
        name: str,
        dim: int,
        dtype: str = "float32",
        seed: int = 0,
        keys: str | None = None,
        optimizer: Optimizer | str | Mapping[str, Any] | None = None,
        initializer: Initializer | str | Mapping[str, Any] = Normal(0.05),  # noqa: B008 - frozen
        max_rows: int | None = None,
        max_bytes: int | None = None,
        eviction: Eviction | str | Mapping[str, Any] | None = None,
        admission: Admission | Mapping[str, Any] | None = None,
        aggregate: Aggregation | str | Mapping[str, Any] | None = None,
        wire_dtype: str = "float32",
    ) -> EmbeddingTable:
        """Open the embedding table `name`, or create it.

        Args:
            name: 1 to 128 letters, digits and `_ . : -`.
            dim: elements of a row, 1 to 65536.
            dtype: of values, "float32" or "float16".
            seed: of the initial values.
            keys: "int64", "string" or "bytes"; None: whatever is used first.
            optimizer: applied to pushed gradients; an object, its name or its JSON form.
            initializer: first value of rows that look-ups create; likewise.
            max_rows: rows that there may be at any time; None: any number.
            max_bytes: of rows, keys, index, admission and waiting gradients at any time; None: any number.
            eviction: "lru", "lfu", "fifo" or an object, `carls.TTL(seconds)` among them: which row
                goes when a new one needs its room. None: "lru" if there is a limit.
            admission: `carls.Admission(after=n)`: keys get rows at their n-th sighting. None: at
                their first.
            aggregate: "lazy" or `carls.Lazy(...)`: pushed gradients wait for the row's next look-up, and
                are applied as their mean, outliers among them clipped or dropped. None: each is applied
                when it comes.
            wire_dtype: with "float16", values and gradients of this handle are rounded to float16
                before they travel, and values widened to the table's dtype after. No part of the
                spec: each handle chooses. A bank in this process rounds alike.

        Raises:
            InvalidSpecError: arguments that cannot be.
            SpecMismatchError: the table exists with another spec; the message names both.
        """
        self._check()
        spec = EmbeddingSpec(
            dim=dim,
            dtype=dtype,
            seed=seed,
            keys=keys,
            optimizer=None if optimizer is None else Optimizer.of(optimizer),
            initializer=Initializer.of(initializer),
            max_rows=max_rows,
            max_bytes=max_bytes,
            eviction=None if eviction is None else Eviction.of(eviction),
            admission=None if admission is None else Admission.of(admission),
            aggregate=None if aggregate is None else Aggregation.of(aggregate),
        )
        return self._remember(EmbeddingTable(self, check_name("table", name), spec, wire_dtype))

    def features(self, name: str, columns: Mapping[str, str], keys: str | None = None) -> FeatureTable:
        """Open the feature table `name`, or create it.

        Args:
            name: as for `embeddings`.
            columns: name -> type: int32, int64, float32, float64, bool, string, or list<T> of
                int32, int64, float32, float64, string.
            keys: as for `embeddings`.

        Raises:
            InvalidSpecError, SpecMismatchError: as for `embeddings`.
        """
        self._check()
        if not isinstance(columns, Mapping):
            raise InvalidSpecError(
                f"columns={columns!r:.80}: expected a mapping such as {{'label': 'int32'}}"
            )
        spec = FeatureSpec(columns=tuple(columns.items()), keys=keys)
        return self._remember(FeatureTable(self, check_name("table", name), spec))

    def gaussian_memory(
        self,
        name: str,
        *,
        dim: int,
        buffer_size: int,
        distance_threshold: float,
        max_clusters: int,
        bootstrap_steps: int,
        min_variance: float,
        distance: str = "squared_l2",
    ) -> GaussianMemory:
        """Open the Gaussian memory `name`, or create it.

        Args:
            name: as for `embeddings`.
            dim: elements of a point, 1 to 65536.
            buffer_size: points that a cluster keeps, the last ones that it was given.
            distance_threshold: a point farther than this from all clusters makes a new one, if the memory is
                to
                grow: a squared distance, or for "gaussian" a value from 0 to 1, where lower is farther.
            max_clusters: how many there may be. All buffers together take at most 1 GiB.
            bootstrap_steps: calls that update or grow before others may make clusters.
            min_variance: no variance is below this; above 0.
            distance: "squared_l2", the sum of (x - mean)**2, or "gaussian",
                exp(-mean((x - mean)**2 / variance) / 2).

        Raises:
            InvalidSpecError, SpecMismatchError: as for `embeddings`.
        """
        self._check()
        spec = GaussianMemorySpec(
            dim=dim,
            buffer_size=buffer_size,
            distance_threshold=distance_threshold,
            max_clusters=max_clusters,
            bootstrap_steps=bootstrap_steps,
            min_variance=min_variance,
            distance=distance,
        )
        return self._remember(GaussianMemory(self, check_name("table", name), spec))

    def tasks(
        self,
        name: str,
        dim: int,
        regularizer: Regularizer | str | Mapping[str, Any] = "nuclear",
        rho: float = 1.0,
        algorithm: Algorithm | str | Mapping[str, Any] = "douglas_rachford",
    ) -> TaskTable:
        """Open the table of tasks `name`, or create it: models are coupled while their nodes keep the data.

        Args:
            name: as for `embeddings`.
            dim: elements of a task's model, 1 to 524,288.
            regularizer: that couples them; an object of `carls.mtl`, its name or its JSON form.
            rho: its weight, > 0.
            algorithm: what nodes evaluate and how their answers are relaxed; likewise.

        Raises:
            InvalidSpecError, SpecMismatchError: as for `embeddings`.
        """
        self._check()
        # The spec turns names and JSON forms into objects.
        spec = TaskSpec(dim, cast("Regularizer", regularizer), rho, cast("Algorithm", algorithm))
        return self._remember(TaskTable(self, check_name("table", name), spec))

    def open(
        self, name: str, spec: TableSpec | None = None
    ) -> EmbeddingTable | FeatureTable | GaussianMemory | TaskTable:
        """Open the table `name` by a spec, whatever its kind, or create it.

        Args:
            name: as for `embeddings`.
            spec: such as another table has; None: that of the table that is there.

        Raises:
            UnknownTableError: there is no such table, and no spec.
            SpecMismatchError: as for `embeddings`.
        """
        self._check()
        wanted = spec_from_json(self.describe(name).spec) if spec is None else spec
        if isinstance(wanted, EmbeddingSpec):
            return self._remember(EmbeddingTable(self, check_name("table", name), wanted))
        if isinstance(wanted, FeatureSpec):
            return self._remember(FeatureTable(self, check_name("table", name), wanted))
        if isinstance(wanted, GaussianMemorySpec):
            return self._remember(GaussianMemory(self, check_name("table", name), wanted))
        if isinstance(wanted, TaskSpec):
            return self._remember(TaskTable(self, check_name("table", name), wanted))
        raise InvalidSpecError(
            f"spec={spec!r:.80}: expected an EmbeddingSpec, a FeatureSpec, a GaussianMemorySpec or a TaskSpec"
        )

    def lease(self, name: str, shares: int = 64, about: str = "", lease_s: float = 10.0) -> Lease:
        """Take part in group `name`, whose members lease shares of a work among them, as even as can be.

        Args:
            name: of the group, as for `embeddings`.
            shares: in how many the work is divided, 1 to 1024.
            about: what is shared; all who take part have to say the same.
            lease_s: seconds that shares stay their holder's own without a word of it, 0.1 to 3600.

        Raises:
            InvalidRequestError: arguments that cannot be, or the group shares something else.
        """
        self._check()
        lease = Lease(self, name, shares, about, lease_s)
        with self._lock:
            self._leases.add(lease)
        return lease

    def tables(self) -> list[TableInfo]:
        """All tables, by name."""
        return cast("list[TableInfo]", self._call(ListTables()))

    def describe(self, name: str) -> TableInfo:
        """Spec, rows and bytes of one table."""
        return cast("TableInfo", self._call(DescribeTable(check_name("table", name))))

    def drop(self, name: str) -> None:
        """Drop a table with all its rows.

        Raises:
            UnknownTableError: there is none of that name.
            OutcomeUnknownError: no reply in time; `flush()` repeats it, which is safe.
        """
        self._check()
        self._drops.drop(check_name("table", name), self.timeout_s)

    def info(self) -> BankInfo:
        """The bank's id, version, uptime and tables."""
        return cast("BankInfo", self._call(DescribeBank()))

    def status(self) -> BankStatus:
        """What is in the bank, what happened to each table, and how old its rows were to readers."""
        return cast("BankStatus", self._call(FetchStatus()))

    def flush(self, timeout_s: float | None = None) -> None:
        """Flush all handles, models and drops: nothing is under way or of unknown outcome then.

        Args:
            timeout_s: deadline; default the bank's.

        Raises:
            DeadlineExceededError: that was not done in time; call it again.
            CarlsError: what went wrong in the background, and was not told yet.
        """
        self._check()
        timeout = self.timeout_s if timeout_s is None else seconds("timeout_s", timeout_s)
        handles = [handle.flush for handle in self._opened()]
        errors = _each_within(timeout, [*handles, self.models.flush, self._drops.flush])
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Flush and close all handles, end all leases, then close the connection, within `timeout_s`
        seconds in all and what the transport needs; closing twice is fine.

        Raises what went wrong in the background, after everything was closed.
        """
        if self._closed or os.getpid() != self._process:
            return
        handles = [handle.close for handle in self._opened()]
        with self._lock:
            leases = [lease.close for lease in self._leases]  # after the writes that are made under them
        errors = _each_within(self.timeout_s, [*handles, *leases, self.models.close, self._drops.close])
        self._closed = True
        self._finalizer()
        if errors:
            raise errors[0]

    def __enter__(self) -> Bank:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception:
            # What went wrong inside the with block says more.
            if error is None:
                raise

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._transport, LocalTransport):
            raise InvalidRequestError(
                "a bank in memory cannot be sent to another process: start `carls serve` and "
                "connect both processes to its URL"
            )
        from carls.client.connect import reconnect

        return (reconnect, (self.url, self.producer, self.timeout_s))

    def __repr__(self) -> str:
        return f"Bank({self.url}, id={self.id[:8]})"

    # --- for handles ---

    def _remember(self, handle: H) -> H:
        with self._lock:
            self._handles.add(handle)
        return handle

    def _forget(self, handle: TableHandle[Any]) -> None:
        with self._lock:
            self._handles.discard(handle)

    def _opened(self) -> list[TableHandle[Any]]:
        with self._lock:
            return list(self._handles)

    def _call(self, request: Request, *, again: bool = False, timeout_s: float | None = None) -> Reply:
        """The reply to a request about the bank as a whole, or that opens a table (`again`), within
        `timeout_s` seconds, or the bank's own.

        A bank that was replaced is made known first. That is an error, once, but not for what
        means the same in any bank.
        """
        self._check()
        timeout = self.timeout_s if timeout_s is None else timeout_s
        try:
            return self._transport.call(request, timeout)
        except BankRestartedError:
            self._learn_id()
            if not again:
                raise
        return self._transport.call(request, timeout)

    def _learn_id(self) -> str:
        """Ask the bank for its id; if it is another one, what was known of the old one goes."""
        info = cast("BankInfo", self._transport.call(DescribeBank(), self.timeout_s))
        with self._lock:
            if info.id != self._transport.bank_id:
                self._producers = KnownProducers()
                self._transport = self._transport.for_bank(info.id)
        return info.id

    def _check(self) -> None:
        check_process(self._process, f"the connection to {self.url}")
        if self._closed:
            raise ClosedError(f"the connection to {self.url} was closed: connect again", bank=self.url)


def _each_within(timeout_s: float, calls: Sequence[Callable[[float], None]]) -> list[Exception]:
    """Make all calls, within so many seconds in all; what they raised."""
    deadline = time.monotonic() + timeout_s
    errors: list[Exception] = []
    for call in calls:
        try:
            call(max(deadline - time.monotonic(), 0.1))
        except Exception as error:
            errors.append(error)
    return errors
