"""Eviction and admission: which rows an embedding table keeps when it may not hold all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from carls.specs.policies import Policy, resolve

#: The bank's clock counts 3.4 years.
_MAX_SECONDS = 1e8


@dataclass(frozen=True)
class Eviction(Policy):
    """Base of the policies that choose the row which goes when a new one needs its room.

    The choice is made in the new key's own stripe, a 64th of a large table: the first by the policy
    among 16 rows that are looked at in turn and up to 16 that were kept in mind from earlier
    looks. In tables of up to 16 rows it is exact. Rows that a request has met do not go for others of
    the same request.
    """

    @staticmethod
    def of(value: Any) -> Eviction:
        """The policy itself, or the one named or described by `value`."""
        return resolve(value, Eviction, _CHOICES)


@dataclass(frozen=True)
class LRU(Eviction):
    """The row least recently used: looked up for training or written."""

    name: ClassVar[str] = "lru"


@dataclass(frozen=True)
class LFU(Eviction):
    """The row least often looked up for training; of equals, the least recently used.

    Uses are counted up to 255, and halved each time that the table has seen 32 look-ups of a key
    for each of its rows, so that what was popular once goes. `rows.count` is never halved.
    """

    name: ClassVar[str] = "lfu"


@dataclass(frozen=True)
class FIFO(Eviction):
    """The row that was made first."""

    name: ClassVar[str] = "fifo"


@dataclass(frozen=True)
class TTL(Eviction):
    """Rows expire `seconds` (0.001 to 1e8) after their last write, or after they were made.

    An expired row counts as absent whenever it is met, and starts anew if it is created again. Its
    memory is taken back then, or by later writes, each of which looks at 16 rows of every stripe that
    it goes to. If there is a limit too, the row written longest ago goes first.
    """

    name: ClassVar[str] = "ttl"
    seconds: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1e-3 <= self.seconds <= _MAX_SECONDS, "seconds", f"0.001 <= seconds <= {_MAX_SECONDS:g}")


@dataclass(frozen=True)
class Admission(Policy):
    """A key gets a row at its `after`-th sighting, 1 to 255: a training look-up that finds no row.

    Sightings are counted in a count-min sketch of 8 bytes for each of `window` (1024 to 2**26)
    sightings; all counts are halved once in a window. So a key that is asked for less than about
    `after` times a window is not admitted, except for false admissions: a key whose four counters are
    all shared with others that were seen as often. They are rare (at most 3 % of keys seen once, at the
    end of a window, with `after=2`). There are no false refusals within a window.
    """

    name: ClassVar[str] = "admission"
    after: int = 2
    window: int = 131_072

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, least, most in (("after", 1, 255), ("window", 1024, 2**26)):
            value = getattr(self, field)
            self.require(
                value.is_integer() and least <= value <= most, field, f"an integer from {least} to {most}"
            )
            object.__setattr__(self, field, int(value))

    @property
    def nbytes(self) -> int:
        """Bytes of the sketch."""
        return 8 * self.window

    @staticmethod
    def of(value: Any) -> Admission:
        """The policy itself, or the one named or described by `value`."""
        return resolve(value, Admission, {Admission.name: Admission})


_CHOICES: dict[str, type[Eviction]] = {policy.name: policy for policy in (LRU, LFU, FIFO, TTL)}
