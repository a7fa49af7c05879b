"""Who is to do what when: an agenda that a few threads work off together."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Agenda(Generic[Item]):
    """Items, each due at a time of its own; a thread that takes one puts it back for later. Thread-safe.

    Args:
        items: all due at once, the first one first.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._changed = threading.Condition()
        self._heap = [(0.0, number, item) for number, item in enumerate(items)]
        self._number = len(self._heap)
        self._end = float("inf")

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end

    def until(self, end: float) -> None:
        """The time is up at `end`, on the monotonic clock: whoever waits then is let go."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def take(self) -> Item | None:
        """The item that is due first, when it is; None when the time is up."""
        with self._changed:
            while not self.over:
                due = self._heap[0][0] if self._heap else float("inf")
                if due <= time.monotonic():
                    return heapq.heappop(self._heap)[2]
                self._wait(due)
            return None

    def put_back(self, item: Item, pause_s: float) -> None:
        """The item is due again in so many seconds."""
        with self._changed:
            self._number += 1
            heapq.heappush(self._heap, (time.monotonic() + pause_s, self._number, item))
            self._changed.notify()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the time is up."""
        due = time.monotonic() + seconds
        with self._changed:
            while not self.over and time.monotonic() < due:
                self._wait(due)

    def _wait(self, due: float) -> None:
        left_s = min(due, self._end) - time.monotonic()
        self._changed.wait(None if left_s == float("inf") else max(left_s, 0.0))
