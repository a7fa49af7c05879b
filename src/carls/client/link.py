"""The link to one bank, and its way to the bank that takes that one's place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from carls.client.writer import Writer
from carls.errors import BankRestartedError, ClientForgottenError, UnknownTableError
from carls.messages import Reply, Request

if TYPE_CHECKING:
    from carls.client.bank import Bank


class Link:
    """Sends the requests of one user of a bank: a handle, the models, the drops. Thread-safe.

    A bank that starts anew is another bank, without the rows of the old one. The link goes over
    to it once, at whichever request finds out, and says so to every request that was meant for
    the old one: none of them reaches the new bank.

    Args:
        bank: to send to.
        writers: all that number writes to the bank; they take new identities for a new bank.
        begin: makes things ready in the bank that is there now, and returns its id.
        lost: what a new bank means for the user, to stand in messages.
        table: that the link is about, if it is about one.

    Attributes:
        bank_id: id of the bank that requests are meant for.
    """

    def __init__(
        self,
        bank: Bank,
        writers: Callable[[], Iterable[Writer]],
        begin: Callable[[], str],
        lost: str,
        table: str | None = None,
    ) -> None:
        self._bank = bank
        self._writers = writers
        self._begin = begin
        self._lost = lost
        self._table = table
        #: Held during `begin`, which takes calls; nothing else is taken meanwhile.
        self._lock = threading.Lock()
        self.bank_id = begin()

    def send(self, request: Request, timeout_s: float) -> Reply:
        """The bank's reply within so many seconds.

        Raises:
            BankRestartedError: the bank was replaced, and the next request goes to the new one.
            ClientForgottenError: the bank does not know the request's writer, which has a new identity now.
            CarlsError: what the transport or the bank says.
        """
        known, transport = self.bank_id, self._bank._transport
        if transport.bank_id != known:
            raise self._renewed(known)
        write = getattr(request, "write", None)
        writer = None if write is None else next((one for one in self._writers() if one.made(write)), None)
        if write is not None and writer is None:
            # Another thread has gone over to the new bank since this write was begun for the old one.
            raise self._restarted()
        try:
            return transport.call(request, timeout_s)
        except BankRestartedError:
            self._bank._learn_id()
            raise self._renewed(known) from None
        except (ClientForgottenError, UnknownTableError) as error:
            if self._bank._learn_id() != known:
                raise self._renewed(known) from None
            if writer is not None and isinstance(error, ClientForgottenError):
                writer.renew()
            raise

    def _renewed(self, old: str) -> BankRestartedError:
        """Go over to the bank that is there now, unless another thread has; says so.

        If that fails, the link stays with the old bank, and the next request tries again.
        """
        with self._lock:
            if self.bank_id == old:
                new = self._begin()
                for writer in self._writers():
                    writer.renew()
                # In this order: whoever sees the new bank's id sees identities that are meant for it.
                self.bank_id = new
        return self._restarted()

    def _restarted(self) -> BankRestartedError:
        return BankRestartedError(
            f"the bank at {self._bank.url} was replaced by bank {self.bank_id}: {self._lost}",
            bank=self._bank.url,
            table=self._table,
        )
