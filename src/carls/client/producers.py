"""The names of producers that a client has learnt from its bank."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class KnownProducers:
    """Grows with the bank's own list; rows hold positions in it."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._lock = threading.Lock()

    @property
    def known(self) -> int:
        """How many names are known."""
        return len(self._names)

    def learn(self, known: int, names: Sequence[str]) -> Sequence[str]:
        """Add `names`, which follow the first `known` ones; returns all names."""
        if names:
            with self._lock:
                self._names.extend(names[len(self._names) - known :])
        return self._names
