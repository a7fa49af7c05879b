"""Demand: what look-ups asked for lately."""

from __future__ import annotations

import threading
from collections import Counter, deque

import numpy as np

from carls.keys import Keys
from carls.messages import Int64s

#: Keys looked up last that count, and the most bytes of them that are kept.
WINDOW_KEYS = 1 << 18
WINDOW_BYTES = 16 << 20


class Demand:
    """The keys that look-ups of one table asked for last, from when somebody first wanted to know.
    Thread-safe.

    A key's demand is how often it stands among the last 262144 keys that were looked up (fewer where they are
    long: 16 MiB of them). Whether a look-up creates rows, and whether there are any, makes no difference.
    """

    def __init__(self) -> None:
        self._batches: deque[Keys] | None = None
        self._keys = self._nbytes = 0
        self._lock = threading.Lock()

    def note(self, keys: Keys) -> None:
        """Take down a look-up. Costs next to nothing while nobody has asked for the demand yet, and little
        since."""
        batches = self._batches
        if batches is None:
            return
        with self._lock:
            batches.append(keys)
            self._keys += len(keys)
            self._nbytes += keys.nbytes
            while batches and (self._keys - len(batches[0]) >= WINDOW_KEYS or self._nbytes > WINDOW_BYTES):
                oldest = batches.popleft()
                self._keys -= len(oldest)
                self._nbytes -= oldest.nbytes

    def of(self, keys: Keys) -> Int64s:
        """(n,) int64: how often each key was looked up lately; zeros at the first call, which starts the
        count."""
        with self._lock:
            if self._batches is None:
                self._batches = deque()
            batches = [batch for batch in self._batches if batch.type == keys.type]
        if not batches:
            return np.zeros(len(keys), np.int64)
        if keys.integers is None:
            seen: Counter[int | str | bytes] = Counter()
            for batch in batches:
                seen.update(batch.tolist())
            return np.array([seen[key] for key in keys.tolist()], np.int64)
        known, counts = np.unique(np.concatenate([batch.integers for batch in batches]), return_counts=True)
        at = np.minimum(np.searchsorted(known, keys.integers), len(known) - 1)
        return np.where(known[at] == keys.integers, counts[at], 0).astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys that are kept."""
        return self._nbytes
