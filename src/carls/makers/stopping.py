"""Stopping: when a runner has to end, and waits that end with it."""

from __future__ import annotations

import threading
import time


class Stopping:
    """Whether a runner has to end: it was asked to, or its time is over. Thread-safe."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._deadline: float | None = None

    def ask(self) -> None:
        """From now on it has to."""
        self._asked.set()

    def after(self, seconds: float | None) -> None:
        """In so many seconds it has to; None: not because of the time."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def now(self) -> bool:
        """Whether it has to."""
        return self._asked.is_set() or self._left() <= 0

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it has to end."""
        self._asked.wait(max(min(seconds, self._left()), 0.0))

    def _left(self) -> float:
        return threading.TIMEOUT_MAX if self._deadline is None else self._deadline - time.monotonic()
