"""Shares: which of the keys this maker makes."""

from __future__ import annotations

import hashlib
import time

import numpy as np

from carls.client import Bank
from carls.keys import Int64s, Keys
from carls.makers.outputs import Table
from carls.messages import Bools

#: In how many shares work is divided that several makers do; fewer where there are fewer keys.
MAX_SHARES = 64
#: Turns within the time of a lease: how soon those who join get a share.
_TURNS = 10


class Shares:
    """All keys, in one part.

    Args:
        n: number of keys.

    Attributes:
        parts: indices of the keys of each part.
        held: (n,) bool: the keys that are this maker's.
        mine: numbers of the parts that are this maker's.
    """

    def __init__(self, n: int) -> None:
        self.parts: list[Int64s] = [np.arange(n)]
        self.held: Bools = np.ones(n, bool)
        self.mine: set[int] = {0}

    @property
    def leased(self) -> int:
        """Number of shares that are leased."""
        return 0

    def turn(self) -> set[int]:
        """Take part in the sharing; returns the parts of which nothing is known any more.

        To be called when no write is under way.
        """
        return set()

    def cover(self, table: Table) -> None:
        """To be called before a write to the table."""

    def close(self) -> None:
        """Give everything back."""


class LeasedShares(Shares):
    """Those of a group's shares that are leased from the bank.

    Args:
        bank: where the group is.
        group: its name.
        model: whose checkpoints the members follow.
        keys: all that they make together.
        lease_s: as for `Bank.lease`.
    """

    def __init__(self, bank: Bank, group: str, model: str, keys: Keys, lease_s: float) -> None:
        super().__init__(len(keys))
        shares = min(MAX_SHARES, len(keys))
        self.parts = np.array_split(np.arange(len(keys)), shares)
        self.held, self.mine = np.zeros(len(keys), bool), set()
        self._grants: dict[int, int] = {}
        self._pause_s = lease_s / _TURNS
        about = f"model {model}, {len(keys)} keys with SHA-256 {digest(keys)}"
        self._lease = bank.lease(group, shares, about, lease_s)
        self._last = -np.inf

    @property
    def leased(self) -> int:
        return len(self.mine)

    def turn(self) -> set[int]:
        now = time.monotonic()
        if now - self._last < self._pause_s:
            return set()
        self._last = now
        before, self._grants = self._grants, dict(self._lease.turn())
        self.mine = set(self._grants)
        changed = {part for part, _ in before.items() ^ self._grants.items()}
        for part in changed:
            self.held[self.parts[part]] = part in self.mine
        return changed

    def cover(self, table: Table) -> None:
        self._lease.cover(table)

    def close(self) -> None:
        self._lease.close()


def digest(keys: Keys) -> str:
    """16 hex digits that tell lists of keys apart."""
    told = hashlib.sha256(keys.type.encode())
    for array in (keys.integers, keys.offsets, keys.data):
        if array is not None:
            told.update(array.tobytes())
    return told.hexdigest()[:16]
