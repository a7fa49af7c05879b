"""Leases: shares of work that makers of one group hold for some seconds."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from carls.bank.announcements import MAX_PARTS, Announcer
from carls.bank.checks import check_producer
from carls.bank.clock import Clock
from carls.bank.ledger import MAX_CLIENT_LENGTH
from carls.errors import ClientForgottenError, InvalidRequestError
from carls.messages import LeaseInfo, LeaseShares
from carls.specs import check_name

#: A lease lasts from and up to so many seconds.
LEAST_S, MOST_S = 0.1, 3600.0
#: Groups, holders of one group, and clients of one holder that there may be.
MAX_GROUPS, MAX_HOLDERS, MAX_COVERED = 1024, 1024, 64


@dataclass
class _Holder:
    producer: str
    seconds: float
    until: float
    clients: tuple[str, ...] = ()
    #: Its shares, and the grant by which each came.
    grants: dict[int, int] = field(default_factory=dict)
    gone: bool = False


@dataclass
class _Group:
    about: str
    shares: int
    #: Number of the group's life: another one of the same name has another.
    life: int
    holders: dict[str, _Holder] = field(default_factory=dict)

    def rebalance(self, holder: _Holder, grant: int) -> None:
        """Let a holder give back what is beyond its fair part, and take what is free up to it.

        With S shares and m holders each has S // m, and S % m of them one more: those who have more already
        keep it, so that few shares move. Whoever leaves shares the others' to take at their next turns.
        """
        least, more = divmod(self.shares, len(self.holders))
        richer = sum(len(it.grants) > least for it in self.holders.values() if it is not holder)
        fair = least + (richer < more)
        for share in sorted(holder.grants)[fair:]:
            del holder.grants[share]
        taken = {share for it in self.holders.values() for share in it.grants}
        free = [share for share in range(self.shares) if share not in taken]
        holder.grants.update(dict.fromkeys(free[: fair - len(holder.grants)], grant))


class Leases:
    """Who holds which shares. Thread-safe.

    A lease lasts until it is renewed no more, by the bank's clock. Its shares are free once the writes of its
    clients are refused, and not before: what was held by somebody who was only slow is written by one at a
    time. So whoever takes a share away first asks for `overdue` holders, then fences their clients, then
    calls `remove`.

    Args:
        clock: of the bank.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()
        # Another bank's grants, or this one's after a restart, are never taken for these.
        self._grant = int.from_bytes(os.urandom(6), "big")

    def take(self, request: LeaseShares) -> LeaseInfo:
        """The shares of a holder, who joins if it is new, after giving and taking.

        Raises:
            InvalidRequestError: what cannot be, or the group shares something else.
            ClientForgottenError: the holder has left, or its lease has run out.
        """
        _check(request)
        with self._lock:
            if not request.join and self._find(request.group, request.holder) is None:
                raise _over(request.group)
            group = self._groups.get(request.group)
            if group is None:
                if len(self._groups) >= MAX_GROUPS:
                    raise InvalidRequestError(
                        f"group {request.group!r}: the bank has {MAX_GROUPS} groups with leases already; let "
                        "some end, or have makers share a group"
                    )
                group = self._groups[request.group] = _Group(request.about, request.shares, self._grant)
            if (group.about, group.shares) != (request.about, request.shares):
                raise InvalidRequestError(
                    f"group {request.group!r} shares {group.about!r} in {group.shares} shares, and "
                    f"{request.producer!r} asked for {request.about!r} in {request.shares}: expected the "
                    "same model, keys and shares of all; choose another name for another group"
                )
            holder = group.holders.get(request.holder)
            if holder is None:
                if len(group.holders) >= MAX_HOLDERS:
                    raise InvalidRequestError(
                        f"group {request.group!r} has {MAX_HOLDERS} holders: expected no more"
                    )
                holder = group.holders[request.holder] = _Holder(request.producer, request.seconds, 0.0)
            elif holder.gone:
                raise _over(request.group)
            holder.seconds = request.seconds
            holder.until = self._clock.seconds() + holder.seconds
            self._grant += 1
            group.rebalance(holder, self._grant)
            shares = tuple(sorted(holder.grants))
            return LeaseInfo(shares, tuple(holder.grants[one] for one in shares), len(group.holders))

    def renew(self, group: str, name: str, clients: tuple[str, ...]) -> None:
        """Keep what a holder has, and take more clients' writes for its own.

        Raises:
            ClientForgottenError: there is no such holder any more.
        """
        with self._lock:
            holder = self._find(group, name)
            if holder is None or holder.gone:
                raise _over(group)
            if any(len(client) > MAX_CLIENT_LENGTH for client in clients):
                raise InvalidRequestError(
                    f"group {group!r}: a lease for a client whose name has over {MAX_CLIENT_LENGTH} "
                    "characters; expected 32 hex digits"
                )
            covered = tuple(dict.fromkeys(holder.clients + clients))
            if len(covered) > MAX_COVERED:
                raise InvalidRequestError(
                    f"group {group!r}: a lease for {len(covered)} clients; expected at most {MAX_COVERED}"
                )
            holder.clients = covered
            holder.until = self._clock.seconds() + holder.seconds

    def overdue(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Group, name and clients of those whose lease has run out; they cannot renew it any more."""
        now = self._clock.seconds()
        with self._lock:
            return [
                (name, who, self._leaving(holder))
                for name, group in self._groups.items()
                for who, holder in group.holders.items()
                if holder.gone or holder.until < now
            ]

    def leave(self, group: str, name: str) -> tuple[str, ...]:
        """Clients of a holder who leaves now; none if it has left."""
        with self._lock:
            holder = self._find(group, name)
            return () if holder is None else self._leaving(holder)

    def remove(self, group: str, name: str) -> None:
        """Free the shares of a holder that is gone."""
        with self._lock:
            found = self._groups.get(group)
            if found is not None and found.holders.get(name, _NOBODY).gone:
                del found.holders[name]
                if not found.holders:
                    del self._groups[group]

    def announcer(self, client: str, parts: tuple[int, ...], of: int) -> Announcer:
        """Who a client is that announces parts; if it writes under a lease, it has to hold them.

        Raises:
            InvalidRequestError: it does not.
            ClientForgottenError: its lease has run out.
        """
        now = self._clock.seconds()
        with self._lock:
            for name, group in self._groups.items():
                for holder in group.holders.values():
                    if client not in holder.clients:
                        continue
                    if holder.gone or holder.until < now:
                        raise _over(name)
                    if of != group.shares or not holder.grants.keys() >= set(parts):
                        raise InvalidRequestError(
                            f"{holder.producer!r} holds the shares {sorted(holder.grants)} of {group.shares} "
                            f"of group {name!r}, and announced {list(parts)} of {of}: expected some of "
                            "its own"
                        )
                    return Announcer(client, name, group.about, group.life)
        return Announcer(client)

    def _find(self, group: str, name: str) -> _Holder | None:
        found = self._groups.get(group)
        return None if found is None else found.holders.get(name)

    @staticmethod
    def _leaving(holder: _Holder) -> tuple[str, ...]:
        holder.gone = True
        return holder.clients


_NOBODY = _Holder("", 0.0, 0.0)


def _check(request: LeaseShares) -> None:
    check_name("group", request.group)
    check_producer(request.producer)
    if not 1 <= request.shares <= MAX_PARTS:
        raise InvalidRequestError(
            f"group {request.group!r} in {request.shares} shares: expected 1 to {MAX_PARTS}"
        )
    if not LEAST_S <= request.seconds <= MOST_S:
        raise InvalidRequestError(
            f"a lease of {request.seconds!r} s: expected {LEAST_S:g} to {MOST_S:g} seconds"
        )
    if not 0 < len(request.holder) <= 200 or len(request.about) > 1000:
        raise InvalidRequestError(
            f"holder {request.holder!r:.60} about {request.about!r:.60}: expected a name of 1 to 200 "
            "characters and at most 1000 characters about what is shared"
        )


def _over(group: str) -> ClientForgottenError:
    return ClientForgottenError(
        f"the lease of shares of group {group!r} has run out: others have them, and what was written under "
        "it is refused from now on. Lease again, and make the rows anew"
    )
