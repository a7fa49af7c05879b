"""A turnstile counts who is inside, lets only so many in, and nobody once it is closed."""

from __future__ import annotations

import threading
from types import TracebackType

from carls.errors import LimitReachedError, UnavailableError


class Turnstile:
    """Counts what is under way: `with turnstile: ...`.

    Args:
        what: is counted, in the plural, for messages.
        cap: how many may be inside; None for any number.
    """

    def __init__(self, what: str, cap: int | None = None) -> None:
        self._what = what
        self._cap = cap
        self._inside = 0
        self._closed = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def __enter__(self) -> None:
        """Go in.

        Raises:
            UnavailableError: the turnstile is closed.
            LimitReachedError: the cap is reached; names it.
        """
        with self._lock:
            if self._closed:
                raise UnavailableError("the bank is stopping: try again when it has been started anew")
            if self._cap is not None and self._inside >= self._cap:
                raise LimitReachedError(
                    f"the bank has {self._cap} {self._what} open and takes no more: close some clients, "
                    f"use fewer threads, or start it with a higher limit of {self._what}",
                    details={"limit": self._what, "value": self._cap},
                )
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in from now on."""
        with self._lock:
            self._closed = True

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds until nobody is inside; whether that is so."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._inside, max(0.0, timeout_s))
