"""Pauses between attempts: they double, up to a cap, and are jittered so that many clients of a
bank that comes back do not all knock at once."""

from __future__ import annotations

import random

from carls.errors import (
    BankRestartedError,
    ClientForgottenError,
    DeadlineExceededError,
    UnavailableError,
    UnknownTableError,
)

#: What those survive who work for a bank for long: it is away, slow, came back empty, or has no table yet.
#: They wait a little and start over.
INTERRUPTIONS = (
    UnavailableError,
    BankRestartedError,
    UnknownTableError,
    ClientForgottenError,
    DeadlineExceededError,
)

_FIRST_S = 0.02
_CAP_S = 1.0


class Backoff:
    """Pauses of one call."""

    def __init__(self) -> None:
        self._next_s = _FIRST_S

    def pause_s(self) -> float:
        """The next pause, in seconds: between half of 20 ms, 40 ms, ... up to 1 s and all of it."""
        pause = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(_CAP_S, 2 * self._next_s)
        return pause
