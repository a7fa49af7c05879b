"""Messages about what a maker's schedule has to know of rows."""

from __future__ import annotations

from typing import NamedTuple

from carls.keys import Keys
from carls.messages.rows import Int64s, Meta


class Survey(NamedTuple):
    """How old the rows of n keys are, and how much they were asked for lately. Nothing is created, no look-up
    is counted, and no values travel. Reply: `SurveyBatch`."""

    table: str
    keys: Keys
    known_producers: int


class SurveyBatch(NamedTuple):
    """Meta (n,) as `ROW_META` has it, demand (n,) int64, and new names of producers."""

    meta: Meta
    demand: Int64s
    producers: tuple[str, ...]
