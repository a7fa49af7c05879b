"""Tables of the engine whose rows have keys: rows in the core, keys of one type."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

import numpy as np

from carls import _core
from carls.bank.demand import Demand
from carls.bank.tables import Table
from carls.errors import InvalidKeyError, InvalidRequestError, RequestTooLargeError, TableFullError
from carls.keys import Keys
from carls.messages import ROW_META, Bools, Meta
from carls.specs import KeyedSpec, TableSpec

S = TypeVar("S", bound=KeyedSpec)
C = TypeVar("C", _core.EmbeddingTable, _core.FeatureTable)

#: Most rows of one page of a scan.
MAX_PAGE_ROWS = 65_536

#: Bytes of values that a page of a scan aims at: pages of wide rows have fewer. The core bounds
#: the bytes of a page's keys likewise.
MAX_PAGE_BYTES = 64 << 20

#: Bytes of one look-up's reply. Clients split long before; this is for raw requests.
MAX_REPLY_BYTES = 1 << 30

#: What the core raises when it cannot take more; `KeyedTable.full` says it to callers.
NO_ROOM = (_core.TableFull, MemoryError)


class KeyedTable(Table[S], Generic[S, C]):
    """Rows of one table by key. The core's rows are made when the type of the keys is known.

    `demand` is what look-ups of its users asked for lately.
    """

    def __init__(self, name: str, spec: S) -> None:
        super().__init__(name, spec)
        self._rows: C | None = None
        self._lock = threading.Lock()
        self.demand = Demand()
        if spec.keys is not None:
            self._rows = self._make_rows(spec.keys == "int64")

    def _make_rows(self, integers: bool) -> C:
        raise NotImplementedError

    def open(self, spec: TableSpec) -> bool:
        if isinstance(spec, KeyedSpec) and spec.keys is not None and self._rows is None:
            with self._lock:
                if self._rows is None:
                    if not self.accepts(spec.with_keys(None)):
                        return False
                    self.spec = self.spec.with_keys(spec.keys)
                    self._rows = self._make_rows(spec.keys == "int64")
        return super().open(spec)

    @property
    def key_type(self) -> str | None:
        return self.spec.keys

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row in a reply, without its key and its lists."""
        raise NotImplementedError

    def rows(self, keys: Keys) -> C:
        """The core's rows, after a check that `keys` have the table's type.

        The first keys fix the type if the spec left it open.
        """
        if len(keys) == 0:
            raise InvalidKeyError("empty batch of keys: expected at least one key", table=self.name)
        if self._rows is None:
            with self._lock:
                if self._rows is None:
                    self.spec = self.spec.with_keys(keys.type)
                    self._rows = self._make_rows(keys.type == "int64")
        self.of_type(keys)
        return self._rows

    @property
    def core(self) -> C | None:
        """The core's rows; None while the type of the keys is open."""
        return self._rows

    def of_type(self, keys: Keys) -> Keys:
        """`keys`, if they have the table's type, as far as it is known.

        Raises:
            InvalidKeyError: they have another.
        """
        if self.spec.keys not in (None, keys.type):
            raise InvalidKeyError(
                f"key {keys[0]!r:.80} has type {keys.type}: table {self.name!r} has keys of type "
                f"{self.spec.keys}; a table's key type is fixed by its first use or by keys= in its spec",
                table=self.name,
            )
        return keys

    def erase(self, keys: Keys, now: int) -> Bools:
        """Remove rows; returns (n,) bool, whether each key had one at `now` of the bank's clock."""
        rows = self.rows(keys)
        try:
            return rows.erase(keys.integers, keys.offsets, keys.data, now).view(np.bool_)
        except NO_ROOM as error:
            raise self.full(error) from None

    def page(self, cursor: int, limit: int) -> tuple[Keys | None, int]:
        """Keys of up to `limit` rows from `cursor` on, and the next cursor or -1.

        A page has fewer rows, and one at least, where its keys or rows would be too many bytes.
        """
        if not 1 <= limit <= MAX_PAGE_ROWS:
            raise InvalidRequestError(
                f"a scan of {limit} rows a page: expected 1 to {MAX_PAGE_ROWS}", table=self.name
            )
        if cursor < 0:
            raise InvalidRequestError(f"cursor {cursor}: expected 0 or a page's cursor", table=self.name)
        if self._rows is None:
            return None, -1
        limit = min(limit, max(1, MAX_PAGE_BYTES // self.row_nbytes))
        try:
            first, data, cursor = self._rows.scan(cursor, limit)
        except NO_ROOM as error:
            raise self.full(error) from None
        if data is None:
            keys = Keys("int64", integers=first)
        else:
            keys = Keys(str(self.spec.keys), offsets=first, data=data)
        return (keys if len(keys) else None), cursor

    def check_reply(self, n: int) -> None:
        """Raise unless n rows fit a reply."""
        if n * self.row_nbytes > MAX_REPLY_BYTES:
            raise RequestTooLargeError(
                f"{n} rows of table {self.name!r} take {n * self.row_nbytes} bytes: expected at most "
                f"{MAX_REPLY_BYTES} in one look-up; look up fewer keys at once",
                table=self.name,
            )

    def full(self, error: Exception) -> TableFullError:
        """What the core raised for want of room (`NO_ROOM`), with the table's name."""
        if isinstance(error, MemoryError):
            return TableFullError(
                f"out of memory in table {self.name!r}, which takes {self.nbytes} bytes: erase rows, drop "
                "tables, or give the bank more memory",
                table=self.name,
            )
        return TableFullError(f"table {self.name!r} is full: {error}", table=self.name)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, keys, index and admission, and of look-ups that were taken down."""
        return self.demand.nbytes + (0 if self._rows is None else self._rows.nbytes)

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)


def empty_meta(n: int) -> tuple[Any, Meta]:
    """Room for the meta of n rows: the bytes for the core and the records over them."""
    raw = np.empty(n * ROW_META.itemsize, np.uint8)
    return raw, np.frombuffer(raw, ROW_META)
