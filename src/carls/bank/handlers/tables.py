"""Requests about tables of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank.catalog import AnyTable, Catalog
from carls.bank.handlers.family import TableFamily
from carls.bank.keyed import KeyedTable
from carls.bank.writes import Writes
from carls.messages import (
    DescribeTable,
    Done,
    DropTable,
    Erase,
    Erased,
    FetchStatistics,
    ListTables,
    OpenTable,
    Reply,
    TableInfo,
)
from carls.specs import spec_from_json
from carls.statistics import TableStatistics


class TableHandlers(TableFamily):
    """Opens, describes and drops tables, and erases rows.

    Args:
        bank: id of the bank.
        catalog: of the bank.
        writes: of the bank.
    """

    def __init__(self, bank: str, catalog: Catalog, writes: Writes) -> None:
        super().__init__(catalog, writes)
        self._bank = bank

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        return {
            OpenTable: self._open,
            ListTables: self._list,
            DescribeTable: self._describe,
            DropTable: self._drop,
            Erase: self._erase,
            FetchStatistics: self._statistics,
        }

    def _open(self, request: OpenTable) -> TableInfo:
        return self._info(self._catalog.open(request.table, spec_from_json(request.spec)))

    def _list(self, _: ListTables) -> list[TableInfo]:
        return [self._info(table) for table in self._catalog.all()]

    def _describe(self, request: DescribeTable) -> TableInfo:
        return self._info(self._catalog.find(request.table))

    def _drop(self, request: DropTable) -> Reply:
        def apply() -> Done:
            self._catalog.drop(request.table)
            self._writes.forget_table(request.table)
            return Done()

        # Drops are not among the writes to the table that goes.
        return self._writes.uncounted(request.write, "tables/", apply)

    def _erase(self, request: Erase) -> Reply:
        table = self._catalog.find_as(request.table, KeyedTable)

        def apply() -> Erased:
            found = table.erase(request.keys, self._writes.clock.ticks())
            table.tally.erased(int(found.sum()))
            return Erased(found)

        return self._writes.once(request, table, apply)

    def _statistics(self, request: FetchStatistics) -> TableStatistics:
        return self._catalog.find(request.table).statistics(self._writes.clock.ticks())

    def _info(self, table: AnyTable) -> TableInfo:
        rates = table.learning_rates(self._writes.clock.seconds())
        return TableInfo(table.name, table.spec.to_json(), len(table), table.nbytes, self._bank, rates)
