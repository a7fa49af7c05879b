"""Drops of tables: each applied once, and only to the bank that it was meant for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from carls.client.link import Link
from carls.client.writer import Writer
from carls.messages import DropTable, Reply, Request

if TYPE_CHECKING:
    from carls.client.bank import Bank


class Drops:
    """Sends a client's drops of tables in order. Thread-safe.

    Args:
        bank: whose tables are dropped.
    """

    def __init__(self, bank: Bank) -> None:
        self._writer = Writer(f"drops of tables of {bank.url}", self._send)
        self._link = Link(
            bank,
            lambda: (self._writer,),
            lambda: bank.id,
            "its tables are gone, and nothing was dropped from the new one; drop it there if that is what "
            "you want",
        )

    def drop(self, name: str, timeout_s: float) -> None:
        """Drop a table."""
        self._writer.write([partial(DropTable, name)], timeout_s)

    def flush(self, timeout_s: float) -> None:
        """Repeat the drop whose outcome is unknown, if there is one."""
        self._writer.flush(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Flush and give the writer's thread back."""
        self._writer.close(timeout_s)

    def _send(self, request: Request, timeout_s: float) -> Reply:
        return self._link.send(request, timeout_s)
