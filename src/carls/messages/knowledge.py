"""Messages about how new the rows of a table are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from carls.messages.rows import WriteId


class Announce(NamedTuple):
    """Say that all rows of the parts `part` of `parts` of a table, as far as makers make them, come
    from checkpoints of `step` or later. Reply: `Done`."""

    table: str
    part: tuple[int, ...]
    parts: int
    step: int
    producer: str
    write: WriteId


class LatestKnowledge(NamedTuple):
    """How new the rows of a table are by what was announced. Waits up to `wait_s` seconds for
    step `at_least`, and says then what there is. Reply: `KnowledgeInfo`."""

    table: str
    at_least: int
    wait_s: float


@dataclass(frozen=True)
class KnowledgeInfo:
    """How new the rows of a table are: all that makers make come from checkpoints of `step` or
    later; -1 while that was not announced for all parts.

    `part` of `parts` is the oldest one, or one that is missing still (0 of 0: nothing was ever
    announced); `producer` announced it, `age` seconds ago ("" and 0 if it is missing).
    """

    step: int
    part: int
    parts: int
    producer: str
    age: float
