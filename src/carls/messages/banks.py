"""Messages about a bank as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from carls.messages.models import ModelInfo
from carls.statistics import TableStatistics


class DescribeBank(NamedTuple):
    """Reply: `BankInfo`."""


class FetchStatus(NamedTuple):
    """What is in the bank and what happened to it. Reply: `BankStatus`."""


@dataclass(frozen=True)
class BankInfo:
    """A bank: `id` (new after each restart), version of carls, seconds since its start."""

    id: str
    version: str
    uptime_s: float
    durable: bool
    tables: tuple[str, ...]


@dataclass(frozen=True)
class BankStatus:
    """A bank and all that is in it: `tables` and the newest checkpoint of each of `models`, by
    name; the rest as in `BankInfo`."""

    id: str
    version: str
    uptime_s: float
    durable: bool
    tables: tuple[TableStatistics, ...]
    models: tuple[ModelInfo, ...]

    def to_json(self) -> dict[str, Any]:
        """The status as JSON-able facts."""
        tables = [table.to_json() for table in self.tables]
        return vars(self) | {"tables": tables, "models": [dict(vars(model)) for model in self.models]}
