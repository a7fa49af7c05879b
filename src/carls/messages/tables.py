"""Messages about tables of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from carls.keys import Keys
from carls.messages.rows import Bools, WriteId


class OpenTable(NamedTuple):
    """Create the table or find it with the same spec. Reply: `TableInfo`."""

    table: str
    spec: dict[str, Any]


class SetLearningRate(NamedTuple):
    """Change the learning rate of an embedding table's optimizer, for pushes to come. Reply: `Done`."""

    table: str
    lr: float
    step: int
    producer: str
    write: WriteId


class ListTables(NamedTuple):
    """Reply: list of `TableInfo`, by name."""


class DescribeTable(NamedTuple):
    """Reply: `TableInfo`."""

    table: str


class DropTable(NamedTuple):
    """Drop the table and its rows. A client's drops share one sequence, whatever the table.
    Reply: `Done`."""

    table: str
    write: WriteId


class FetchStatistics(NamedTuple):
    """What happened to the table. Reply: `TableStatistics`."""

    table: str


class LearningRate(NamedTuple):
    """A learning rate that a table was given: by whom, at which step of theirs (-1: not said), and
    how many seconds ago by the bank's clock."""

    lr: float
    step: int
    producer: str
    age: float


@dataclass(frozen=True)
class TableInfo:
    """A table as its bank sees it.

    Attributes:
        name: of the table.
        spec: that it was made with, as JSON-able facts.
        rows: how many.
        nbytes: memory taken by rows, keys and index.
        bank: id of the bank.
        learning_rates: those that took the place of the spec's, oldest first, the newest 100.
    """

    name: str
    spec: dict[str, Any]
    rows: int
    nbytes: int
    bank: str
    learning_rates: tuple[LearningRate, ...] = ()


class Erase(NamedTuple):
    """Erase rows of any table. Reply: `Erased`."""

    table: str
    keys: Keys
    write: WriteId


class Erased(NamedTuple):
    """`found` (n,) bool: which keys had a row."""

    found: Bools
