"""What all tables of the engine share: a spec, rows in the core, keys of one type."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

import numpy as np

from carls import _core
from carls.errors import InvalidKeyError, InvalidRequestError, TableFullError
from carls.keys import Keys
from carls.messages import ROW_META, Bools, Meta
from carls.specs import TableSpec

S = TypeVar("S", bound=TableSpec)
C = TypeVar("C", _core.EmbeddingTable, _core.FeatureTable)

#: Most rows of one page of a scan.
MAX_PAGE_ROWS = 65_536


class Table(Generic[S, C]):
    """Rows of one table. The core's rows are made when the type of the keys is known."""

    def __init__(self, name: str, spec: S) -> None:
        self.name = name
        self.spec: S = spec
        self._rows: C | None = None
        self._lock = threading.Lock()
        if spec.keys is not None:
            self._rows = self._make_rows(spec.keys == "int64")

    def _make_rows(self, integers: bool) -> C:
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
        if keys.type != self.spec.keys:
            raise InvalidKeyError(
                f"key {keys[0]!r:.80} has type {keys.type}: table {self.name!r} has keys of type "
                f"{self.spec.keys}; a table's key type is fixed by its first use or by keys= in its spec",
                table=self.name,
            )
        return self._rows

    def open_keys(self, key_type: str | None) -> None:
        """Fix the key type, if it is open still."""
        if key_type is not None and self._rows is None:
            with self._lock:
                if self._rows is None:
                    self.spec = self.spec.with_keys(key_type)
                    self._rows = self._make_rows(key_type == "int64")

    def erase(self, keys: Keys) -> Bools:
        """Remove rows; returns (n,) bool, whether each key had one."""
        rows = self.rows(keys)
        return rows.erase(keys.integers, keys.offsets, keys.data).view(np.bool_)

    def page(self, cursor: int, limit: int) -> tuple[Keys | None, int]:
        """Keys of up to `limit` rows from `cursor` on, and the next cursor or -1."""
        if not 1 <= limit <= MAX_PAGE_ROWS:
            raise InvalidRequestError(
                f"a scan of {limit} rows a page: expected 1 to {MAX_PAGE_ROWS}", table=self.name
            )
        if cursor < 0:
            raise InvalidRequestError(f"cursor {cursor}: expected 0 or a page's cursor", table=self.name)
        if self._rows is None:
            return None, -1
        first, data, cursor = self._rows.scan(cursor, limit)
        if data is None:
            keys = Keys("int64", integers=first)
        else:
            keys = Keys(str(self.spec.keys), offsets=first, data=data)
        return (keys if len(keys) else None), cursor

    def full(self, error: Exception) -> TableFullError:
        """The core's complaint about a full table, with the table's name."""
        return TableFullError(f"table {self.name!r} is full: {error}", table=self.name)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, keys and index."""
        return 0 if self._rows is None else self._rows.nbytes

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)


def empty_meta(n: int) -> tuple[Any, Meta]:
    """Room for the meta of n rows: the bytes for the core and the records over them."""
    raw = np.empty(n * ROW_META.itemsize, np.uint8)
    return raw, raw.view(ROW_META)
