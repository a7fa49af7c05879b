"""Drops of tables: each applied once, and only to the bank that it was meant for."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from carls.client.writer import Writer
from carls.errors import BankRestartedError, ClientForgottenError
from carls.messages import DropTable, Reply, Request

if TYPE_CHECKING:
    from carls.client.bank import Bank


class Drops:
    """Sends a client's drops of tables in order. Thread-safe.

    Args:
        bank: whose tables are dropped.
    """

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._bank_id = bank.id
        self._lock = threading.Lock()
        self._writer = Writer(f"drops of tables of {bank.url}", self._send)

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
        known, transport = self._bank_id, self._bank._transport
        if transport.bank_id != known:
            raise self._renewed(known)
        if isinstance(request, DropTable) and not self._writer.made(request.write):
            # Another thread has learnt of the new bank since this drop was begun for the old one.
            raise self._restarted()
        try:
            return transport.call(request, timeout_s)
        except BankRestartedError:
            self._bank._learn_id()
            raise self._renewed(known) from None
        except ClientForgottenError:
            self._writer.renew()
            raise

    def _renewed(self, old: str) -> BankRestartedError:
        """Go over to the bank that is there now, unless another thread has; says so."""
        with self._lock:
            if self._bank_id == old:
                self._writer.renew()
                self._bank_id = self._bank.id
        return self._restarted()

    def _restarted(self) -> BankRestartedError:
        return BankRestartedError(
            f"the bank at {self._bank.url} was replaced by bank {self._bank_id}: its tables are gone, and "
            "nothing was dropped from the new one; drop it there if that is what you want",
            bank=self._bank.url,
        )
