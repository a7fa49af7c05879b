"""The catalog: a bank's tables by name."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

from carls.bank.clock import Clock
from carls.bank.embeddings import EmbeddingTable
from carls.bank.features import FeatureTable
from carls.bank.memories import GaussianMemory
from carls.bank.tables import Table
from carls.bank.tasks import TaskTable
from carls.errors import SpecMismatchError, UnknownTableError
from carls.specs import EmbeddingSpec, FeatureSpec, GaussianMemorySpec, TableSpec, TaskSpec, check_name

AnyTable = EmbeddingTable | FeatureTable | GaussianMemory | TaskTable
T = TypeVar("T", bound=Table[Any])

#: Tables by the class of their spec.
_KINDS: dict[type[TableSpec], type[Any]] = {
    EmbeddingSpec: EmbeddingTable,
    FeatureSpec: FeatureTable,
    GaussianMemorySpec: GaussianMemory,
    TaskSpec: TaskTable,
}


class Catalog:
    """Finds, makes and drops tables. Thread-safe.

    Args:
        bank: id of the bank, for messages.
        clock: of the bank.
    """

    def __init__(self, bank: str, clock: Clock) -> None:
        self._bank = bank
        self._clock = clock
        self._tables: dict[str, AnyTable] = {}
        self._lock = threading.Lock()

    def open(self, name: str, spec: TableSpec) -> AnyTable:
        """The table of that name, made if there is none.

        Raises:
            InvalidSpecError: no table can have that name.
            SpecMismatchError: it exists with another spec.
        """
        with self._lock:
            table = self._tables.get(check_name("table", name))
            if table is None:
                table = self._tables[name] = _KINDS[type(spec)](name, spec)
        if not table.open(spec):
            raise self._mismatch(table, spec)
        return table

    def find(self, name: str) -> AnyTable:
        """The table of that name, of any kind.

        Raises:
            UnknownTableError: there is none.
        """
        table = self._tables.get(name)
        if table is None:
            raise self._unknown(name)
        return table

    def find_as(self, name: str, kind: type[T]) -> T:
        """The table of that name and kind.

        Raises:
            UnknownTableError: there is none.
            SpecMismatchError: it is of another kind.
        """
        table = self.find(name)
        if not isinstance(table, kind):
            raise SpecMismatchError(
                f"table {name!r} is a table of kind {table.spec.kind!r}: this call needs another kind",
                table=name,
            )
        return table

    def drop(self, name: str) -> None:
        """Forget a table.

        Raises:
            UnknownTableError: there is none of that name.
        """
        with self._lock:
            table = self._tables.pop(name, None)
        if table is None:
            raise self._unknown(name)
        table.close()

    def all(self) -> list[AnyTable]:
        """All tables, by name."""
        with self._lock:
            return sorted(self._tables.values(), key=lambda table: table.name)

    def close(self) -> None:
        """Wake all who wait for something of a table."""
        for table in self.all():
            table.close()

    def _mismatch(self, table: AnyTable, requested: TableSpec) -> SpecMismatchError:
        rates = [list(rate) for rate in table.learning_rates(self._clock.seconds())]
        since = f", with the learning rates (lr, step, producer, age) {rates} since" if rates else ""
        return SpecMismatchError(
            f"table {table.name!r} exists with another spec. It has {table.spec.to_json()!s:.1000}{since}; "
            f"asked for was {requested.to_json()!s:.1000}. Open it with its own spec, drop it first, or "
            "choose another name",
            table=table.name,
            details={
                "existing": table.spec.to_json(),
                "requested": requested.to_json(),
                "learning_rates": rates,
            },
        )

    def _unknown(self, name: str) -> UnknownTableError:
        return UnknownTableError(
            f"no table {name!r} in bank {self._bank}: it has {sorted(self._tables)}; open it first, for "
            "instance with bank.embeddings(name, dim=...)",
            table=name,
        )
