"""Deadlines of replies: one thread that cancels what is overdue.

A Flight call's own timeout bounds a whole stream, which stays open for many calls, so each
reply's deadline is watched here.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable

#: How often the thread looks whether the program has ended without closing it, in seconds.
_GLANCE_S = 0.2


class Deadlines:
    """Watches deadlines in one thread, which starts with the first of them.

    Args:
        name: of the thread.
        tidy: called now and then from the thread, to close what is idle.
        tidy_every_s: how often, in seconds.
    """

    def __init__(self, name: str, tidy: Callable[[], None], tidy_every_s: float) -> None:
        self._name = name
        self._tidy = tidy
        self._tidy_every_s = tidy_every_s
        self._tokens = itertools.count()
        self._watched: dict[int, tuple[float, Callable[[], None]]] = {}
        self._wake_at = 0.0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._thread: threading.Thread | None = None

    def watch(self, due: float, cancel: Callable[[], None]) -> int:
        """Have `cancel` called when `time.monotonic()` reaches `due`; the token is for `met`."""
        token = next(self._tokens)
        with self._lock:
            self._watched[token] = (due, cancel)
            if self._thread is None and not self._closed:
                # Not a daemon: it would be frozen in mid-cancel when the interpreter ends.
                thread = threading.Thread(target=self._run, name=self._name, daemon=False)
                # Python 3.12 starts none once the main thread has ended: what is sent then goes unwatched.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            elif due < self._wake_at:
                self._changed.notify()
        return token

    def met(self, token: int) -> bool:
        """Stop watching; False if the deadline had passed and `cancel` was or is being called."""
        with self._lock:
            return self._watched.pop(token, None) is not None

    def close(self, timeout_s: float) -> None:
        """End the thread, waiting at most `timeout_s` seconds for it."""
        with self._lock:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _run(self) -> None:
        tidy_at = time.monotonic() + self._tidy_every_s
        while True:
            with self._lock:
                now = time.monotonic()
                soonest = min((due for due, _ in self._watched.values()), default=tidy_at)
                self._wake_at = min(soonest, tidy_at, now + _GLANCE_S)
                if not self._closed and self._wake_at > now:
                    self._changed.wait(self._wake_at - now)
                if self._closed or not (self._watched or threading.main_thread().is_alive()):
                    self._thread = None
                    return
                overdue = self._take_overdue(time.monotonic())
            for cancel in overdue:
                cancel()
            if time.monotonic() >= tidy_at:
                self._tidy()
                tidy_at = time.monotonic() + self._tidy_every_s

    def _take_overdue(self, now: float) -> list[Callable[[], None]]:
        tokens = [token for token, (due, _) in self._watched.items() if due <= now]
        return [self._watched.pop(token)[1] for token in tokens]
