"""Handles know their process: threads and sockets do not survive a fork."""

from __future__ import annotations

import os

from carls.errors import ForkedError


def check_process(owner: int, what: str) -> None:
    """Raise `ForkedError` unless this process is `owner` (a process id)."""
    if os.getpid() != owner:
        raise ForkedError(
            f"{what} was made in process {owner} and used in {os.getpid()}, which was forked from it: "
            "start workers with the spawn method (multiprocessing.get_context('spawn'), or "
            "DataLoader(..., multiprocessing_context='spawn')), or connect again in the worker"
        )
