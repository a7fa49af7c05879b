"""Demand: what look-ups asked for lately."""

from __future__ import annotations

import threading

import numpy as np

from carls import _core
from carls.keys import Keys
from carls.messages import Int64s

#: Keys looked up last that count.
WINDOW_KEYS = 1 << 18


class Demand:
    """The keys that look-ups of one table asked for last, from when somebody first wanted to know.
    Thread-safe.

    A key's demand is how often it stands among the last 262144 keys that were looked up. Whether a look-up
    creates rows, and whether there are any, makes no difference. Eight bytes are kept of each key: an integer
    itself, of others a 64-bit hash.
    """

    def __init__(self) -> None:
        #: The keys looked up last, in a ring; None: nobody has asked.
        self._ring: Int64s | None = None
        self._noted = 0
        self._lock = threading.Lock()

    def note(self, keys: Keys) -> None:
        """Take down a look-up. Costs next to nothing while nobody has asked for the demand yet, and little
        since."""
        ring = self._ring
        if ring is None:
            return
        marks = _marks(keys)[-len(ring) :]
        with self._lock:
            start = self._noted % len(ring)
            head = marks[: len(ring) - start]
            ring[start : start + len(head)] = head
            ring[: len(marks) - len(head)] = marks[len(head) :]
            self._noted += len(marks)

    def of(self, keys: Keys) -> Int64s:
        """(n,) int64: how often each key was looked up lately; zeros at the first call, which starts the
        count."""
        with self._lock:
            if self._ring is None:
                self._ring = np.empty(WINDOW_KEYS, np.int64)
            lately = self._ring[: self._noted].copy()
        if len(lately) == 0:
            return np.zeros(len(keys), np.int64)
        known, counts = np.unique(lately, return_counts=True)
        marks = _marks(keys)
        at = np.minimum(np.searchsorted(known, marks), len(known) - 1)
        return np.where(known[at] == marks, counts[at], 0).astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return 0 if self._ring is None else self._ring.nbytes


def _marks(keys: Keys) -> Int64s:
    """(n,) int64 that tell keys of one type apart."""
    return _core.hash_bytes(keys.offsets, keys.data) if keys.integers is None else keys.integers
