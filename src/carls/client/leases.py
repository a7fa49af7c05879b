"""Lease: this process's shares of work that several makers divide among them."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from carls.bank.announcements import MAX_PARTS
from carls.bank.leases import LEAST_S, MOST_S
from carls.client.arguments import integer
from carls.client.handle import TableHandle
from carls.errors import CarlsError, InvalidRequestError
from carls.messages import EndLease, LeaseInfo, LeaseShares, RenewLease
from carls.specs import check_name

if TYPE_CHECKING:
    from carls.client.bank import Bank

#: Renewals within the time of a lease: one or two may be late.
_RENEWALS = 4


class Lease:
    """Shares of a group's work, this holder's until it closes the lease, gives some back or is not heard of
    for `lease_s` seconds. Made by `Bank.lease`.

    `turn` takes part in the sharing: to be called when no write of the holder is under way, such as between
    batches. In between, a thread of the lease keeps what is held. A holder that was silent for too long, as
    it was dead, paused or cut off, loses its shares to the others. Its next turn, and the next write of each
    table that it covers, raise `ClientForgottenError`: it cannot spoil what others have made since. It has to
    close the lease, take another one, cover its tables by that, and make its rows anew.

    Args:
        bank: where the group is. name: of the group. shares: in how many the work is divided, 1 to 1024; a
            fixed number, whatever number of makers there is.
        about: what is shared; all who take part have to say the same.
        lease_s: seconds that the shares of a holder stay its own without a word of it.

    Attributes:
        shares: in how many shares the work is.
        held: number of each share that is held, and of the grant by which it came: another grant than before
            says that somebody else may have had the share meanwhile.
        holders: how many took part at the last turn.
    """

    def __init__(self, bank: Bank, name: str, shares: int, about: str, lease_s: float) -> None:
        self.shares = integer("shares", shares, 1, MAX_PARTS)
        self.held: dict[int, int] = {}
        self.holders = 0
        self._bank = bank
        self._name = check_name("group", name)
        self._about = about
        self._lease_s = check_lease(lease_s)
        self._holder = os.urandom(16).hex()
        self._covered: dict[str, TableHandle[Any]] = {}
        self._closed = threading.Event()
        self._turn(join=True)
        self._keeper = threading.Thread(target=self._keep, name=f"carls lease of {name}", daemon=True)
        self._keeper.start()

    def turn(self) -> dict[int, int]:
        """Give back what is beyond a fair part, take what is free up to it; returns `held`.

        Raises:
            ClientForgottenError: the lease had run out: close it, and take another.
            InvalidRequestError: the group shares something else.
        """
        return self._turn(join=False)

    def _turn(self, join: bool) -> dict[int, int]:
        request = LeaseShares(
            self._name, self._holder, self.shares, self._about, self._lease_s, self._bank.producer, join
        )
        info = cast("LeaseInfo", self._bank._call(request))
        self.held = dict(zip(info.shares, info.grants, strict=True))
        self.holders = info.holders
        return self.held

    def cover(self, table: TableHandle[Any]) -> None:
        """From now on writes and announcements of this handle are refused when the lease has run out.

        Raises:
            ClientForgottenError: it has run out already.
        """
        client = table._writer.client
        if client not in self._covered:
            self._bank._call(RenewLease(self._name, self._holder, (client,)))
            self._covered[client] = table

    def close(self, timeout_s: float | None = None) -> None:
        """Give all shares back at once; writes of covered handles are refused from now on. Closing twice is
        fine.

        Where the bank cannot be reached within `timeout_s` seconds, by default a quarter of `lease_s` and at
        most the bank's, the lease runs out by itself.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self._keeper.join()
        self.held = {}
        brief_s = self._brief_s if timeout_s is None else min(self._brief_s, timeout_s)
        with contextlib.suppress(CarlsError):
            self._bank._call(EndLease(self._name, self._holder), timeout_s=brief_s)
        for client, table in self._covered.items():
            if table._writer.client == client:
                # What the handle writes from now on is no concern of this lease's.
                table._writer.renew()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _brief_s(self) -> float:
        """Deadline of words that another one, or the end of the lease, makes up for."""
        return min(self._bank.timeout_s, self._lease_s / _RENEWALS)

    def _keep(self) -> None:
        while not self._closed.wait(self._lease_s / _RENEWALS):
            # What is wrong, the holder meets itself, at its next turn or write.
            with contextlib.suppress(CarlsError):
                self._bank._call(RenewLease(self._name, self._holder, ()), timeout_s=self._brief_s)


def check_lease(lease_s: Any) -> float:
    """`lease_s`, if it is a time that a lease may last.

    Raises:
        InvalidRequestError: it is none.
    """
    if isinstance(lease_s, bool) or not isinstance(lease_s, int | float) or not LEAST_S <= lease_s <= MOST_S:
        raise InvalidRequestError(
            f"lease_s={lease_s!r:.60}: expected seconds, a number from {LEAST_S:g} to {MOST_S:g}"
        )
    return float(lease_s)
