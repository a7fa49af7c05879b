"""What the families of handlers about tables share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from carls.bank.catalog import Catalog
from carls.bank.writes import Writes
from carls.messages import Reply


class TableFamily(ABC):
    """Answers a family of requests about tables.

    Args:
        catalog: of the bank.
        writes: of the bank.
    """

    def __init__(self, catalog: Catalog, writes: Writes) -> None:
        self._catalog = catalog
        self._writes = writes

    @abstractmethod
    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        """What answers each class of request."""
