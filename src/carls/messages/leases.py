"""Messages about shares of work that makers of one group lease for some seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class LeaseShares(NamedTuple):
    """Take part in group `group`, whose work is in `shares` shares, for `seconds` seconds from now: join it
    or stay in it, take shares that are free, give back those beyond a fair part. To be sent when no write of
    the holder is under way. `about` says what is shared, the same for all who take part. Who does not `join`
    has joined before, and is refused if its lease has run out since. Reply: `LeaseInfo`."""

    group: str
    holder: str
    shares: int
    about: str
    seconds: float
    producer: str
    join: bool


class RenewLease(NamedTuple):
    """Keep what `holder` has for as long again. The clients' writes count as its own: they are refused once
    its lease has run out. Reply: `Done`."""

    group: str
    holder: str
    clients: tuple[str, ...]


class EndLease(NamedTuple):
    """Leave the group: what `holder` has is free, and its clients' writes are refused. Reply: `Done`."""

    group: str
    holder: str


@dataclass(frozen=True)
class LeaseInfo:
    """What one holder has.

    Attributes:
        shares: numbers of its shares, from 0, ascending.
        grants: for each, the number of the grant by which it came: another one than before tells that
            somebody else may have had the share meanwhile.
        holders: how many take part in the group.
    """

    shares: tuple[int, ...]
    grants: tuple[int, ...]
    holders: int
