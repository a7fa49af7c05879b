"""Requests about leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carls.bank.leases import Leases
from carls.bank.writes import Writes
from carls.messages import Done, EndLease, LeaseInfo, LeaseShares, RenewLease, Reply


class LeaseHandlers:
    """Gives shares to those who make rows, and takes them from those who are gone.

    Args:
        leases: of the bank.
        writes: of the bank.
    """

    def __init__(self, leases: Leases, writes: Writes) -> None:
        self._leases = leases
        self._writes = writes

    def handlers(self) -> dict[type, Callable[[Any], Reply]]:
        """By class of request."""
        return {LeaseShares: self._lease, RenewLease: self._renew, EndLease: self._end}

    def _lease(self, request: LeaseShares) -> LeaseInfo:
        self._clear()
        return self._leases.take(request)

    def _renew(self, request: RenewLease) -> Done:
        self._clear()
        self._leases.renew(request.group, request.holder, request.clients)
        return Done()

    def _end(self, request: EndLease) -> Done:
        self._writes.fence(self._leases.leave(request.group, request.holder))
        self._leases.remove(request.group, request.holder)
        return Done()

    def _clear(self) -> None:
        for group, holder, clients in self._leases.overdue():
            self._writes.fence(clients)
            self._leases.remove(group, holder)
