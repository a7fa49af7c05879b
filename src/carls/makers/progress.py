"""Progress: what a maker's runner has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a runner has done so far.

    Attributes:
        checkpoint_step: step of the checkpoint that it worked from last; -1: none yet.
        passes: walks over the keys that it finished.
        rows_written: rows acknowledged by the bank.
        rows_per_s: of the last finished walk, making and writing; 0 before.
        interruptions: times the bank went away, was replaced or lacked a table, and the
            runner started over.
        last_error: the message of the last of these; None before.
    """

    checkpoint_step: int = -1
    passes: int = 0
    rows_written: int = 0
    rows_per_s: float = 0.0
    interruptions: int = 0
    last_error: str | None = None
