"""Messages about Gaussian memories."""

from __future__ import annotations

from typing import NamedTuple

from carls.messages.rows import Floats, Int64s, WriteId


class MemoryCounts(NamedTuple):
    """What happened to a memory in all calls that updated or grew it: how many there were, their points, and
    points that were far from all clusters but made none, since the memory was still in its bootstrap steps or
    was full."""

    calls: int
    points: int
    refused_bootstrap: int
    refused_full: int


class ReadMemory(NamedTuple):
    """Find the nearest cluster of points (n, dim) float32; nothing changes. `reader`: the name under which
    the bank counts it. Reply: `MemoryBatch`."""

    table: str
    points: Floats
    reader: str


class AbsorbPoints(NamedTuple):
    """Add points (n, dim) float32 in order, each to its nearest cluster, or with `grow` to a new one if it is
    far. Reply: `MemoryBatch`, of the memory after the last point."""

    table: str
    points: Floats
    grow: bool
    producer: str
    write: WriteId


class MemoryBatch(NamedTuple):
    """Of each of n points its `cluster` (n,), -1 while there are none, the cluster's `mean` and `variance`
    (n, dim) and the `distance` (n,) to it."""

    cluster: Int64s
    mean: Floats
    variance: Floats
    distance: Floats


class ExportMemory(NamedTuple):
    """Read a memory whole. Reply: `MemoryContent`."""

    table: str


class MemoryContent(NamedTuple):
    """All that a memory knows: its `points` (n, dim), cluster by cluster and oldest first, the `cluster`
    (n,) of each, ascending from 0 without gaps, and its counts."""

    points: Floats
    cluster: Int64s
    counts: MemoryCounts


class LoadMemory(NamedTuple):
    """One part of the content that takes the place of a memory's; it is there when the last part arrives.
    Parts of one content come in order. `producer` is who loads it. Reply: `Done`."""

    table: str
    part: int
    parts: int
    points: Floats
    cluster: Int64s
    counts: MemoryCounts
    producer: str
    write: WriteId
