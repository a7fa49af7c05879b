"""Progress: what a maker's runner has done so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Progress:
    """What a runner has done so far.

    Attributes:
        checkpoint_step: step of the checkpoint that it worked from last; -1: none yet.
        passes: walks that it finished, each over the keys that the schedule chose at once.
        rows_written: rows acknowledged by the bank.
        rows_per_s: of the last finished walk, making, writing and waiting for the budget; 0 before.
        interval_steps: steps of the trainer that it lets pass between two checkpoints at least.
        shares: of the work that it holds, where makers share it; 0 elsewhere.
        interruptions: times the bank went away, was replaced or lacked a table, or the lease of the
            shares ran out, and the runner started over.
        last_error: the message of the last of these; None before.
    """

    checkpoint_step: int = -1
    passes: int = 0
    rows_written: int = 0
    rows_per_s: float = 0.0
    interval_steps: int = 1
    shares: int = 0
    interruptions: int = 0
    last_error: str | None = None


class Journal:
    """Takes progress down. Written by one thread, read by any.

    Attributes:
        progress: as of now.
    """

    def __init__(self) -> None:
        self.progress = Progress()

    def note(self, **changes: Any) -> None:
        """Replace some of it."""
        self.progress = replace(self.progress, **changes)
