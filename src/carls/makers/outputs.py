"""Outputs: the tables that a maker writes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from carls.client import Bank, EmbeddingTable, FeatureTable
from carls.errors import InvalidRequestError, SpecMismatchError
from carls.keys import Keys
from carls.makers.maker import Write

Table = EmbeddingTable | FeatureTable


class Outputs:
    """Handles of the tables that a maker writes to, opened when they are needed, with the specs that they
    have.

    Args:
        bank: that they are in.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """The handle of a table.

        Raises:
            UnknownTableError: there is none.
            SpecMismatchError: it is of a kind that makers do not write to.
        """
        if name not in self._tables:
            table = self._bank.open(name)
            if not isinstance(table, Table):
                raise SpecMismatchError(
                    f"table {name!r} is a table of kind {table.spec.kind!r}: makers write to embedding and "
                    "feature tables",
                    table=name,
                )
            self._tables[name] = table
        return self._tables[name]

    def write(self, write: Write, step: int, before: Callable[[Table], None]) -> int:
        """Write rows, and return how many, after `before` was called with the table."""
        keys, table = Keys.of(write.keys), self.table(write.table)
        if isinstance(table, EmbeddingTable) == isinstance(write.values, Mapping):
            raise InvalidRequestError(
                f"write to table {write.table!r}, a {table.spec.kind} table, with values of type "
                f"{type(write.values).__name__}: expected an array for embedding tables and a mapping of "
                "columns for feature tables"
            )
        before(table)
        table.assign(keys, write.values, step=step)
        return len(keys)

    def announce(self, name: str, step: int, parts: Sequence[int], of: int) -> None:
        """Say that the rows of some parts of a table are of `step` or later."""
        self._tables[name].announce(step, parts, of)
