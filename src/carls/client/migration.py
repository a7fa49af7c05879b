"""Moving a table into another one while it is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from carls.client.arguments import integer
from carls.client.embeddings import EmbeddingTable
from carls.client.results import Rows
from carls.client.sources import PIECE_ROWS
from carls.client.tabular import Moved
from carls.errors import InvalidRequestError, SpecMismatchError
from carls.keys import Keys
from carls.messages import Floats, Vectors


@dataclass(frozen=True)
class Migration:
    """What `migrate` did.

    Attributes:
        copied: rows that each pass over the source copied.
        erased: rows that the target had and the source has not.
        state: whether the optimizer's state went along.
        settled: whether the last pass found nothing to copy.
    """

    copied: tuple[int, ...]
    erased: int
    state: bool
    settled: bool


def migrate(
    source: EmbeddingTable, target: EmbeddingTable, passes: int = 10, timeout_s: float | None = None
) -> Migration:
    """Copy all rows of an embedding table into another one, say with another optimizer or dtype, while the
    source is used.

    Values go with their version, count, step, time and producer. The optimizer's state goes along where
    both tables have the same optimizer, whatever its arguments; else it starts anew. So does what a lazy
    table knows of its rows' contributions, where only one of the tables is lazy. A pass
    over the source copies those rows whose version or step is another than in the target. Passes
    follow until one finds nothing to copy: what was written meanwhile is caught up with. Then
    rows that the target has and the source has not are erased.

    Nobody else may write the target meanwhile. Writes that the source gets after the last pass
    are not copied: stop its writers, migrate again, which takes little as only what differs is
    copied, and let the writers go on with the target. A row that is erased and made anew with the
    version and step that it had, between two passes, is not seen to be another.

    Args:
        source: stays as it is; counts the look-ups that find out what was erased.
        target: in any bank; of the same dim and type of keys.
        passes: most passes.
        timeout_s: deadline of each call; default the banks'.

    Raises:
        SpecMismatchError: another dim or type of keys; nothing was changed.
        InvalidRequestError: both are one table.
        CarlsError: as of `scan` and `load`; migrate again.
    """
    most = integer("passes", passes, 1)
    _check(source, target)
    state = type(source.spec.optimizer) is type(target.spec.optimizer)
    copied: list[int] = []
    while len(copied) < most and (not copied or copied[-1] > 0):
        walk = source._walk(PIECE_ROWS, state, timeout_s)
        copied.append(sum(_copy(keys, rows, target, timeout_s) for keys, rows in walk))
    erased = 0
    for keys, _ in target.scan(PIECE_ROWS, timeout_s):
        gone = np.flatnonzero(~source.lookup(keys, create=False, timeout_s=timeout_s).found)
        if len(gone):
            erased += int(target.erase(keys.take(gone), timeout_s).sum())
    return Migration(tuple(copied), erased, state, copied[-1] == 0)


def _copy(keys: Keys, rows: Rows, target: EmbeddingTable, timeout_s: float | None) -> int:
    """Copy those of the rows that differ in the target; returns how many."""
    there = target.lookup(keys, create=False, timeout_s=timeout_s)
    same = there.found & (there.version == rows.version) & (there.step == rows.step)
    chosen = np.flatnonzero(~same)
    if len(chosen):
        records = _fitted(rows.values[chosen], target.dim, target.spec.state_floats)
        meta = rows._meta[chosen]
        used, meta["producer"] = np.unique(meta["producer"], return_inverse=True)
        producers = tuple(rows._producers[number] for number in used)
        moved = Moved(keys.take(chosen), records, meta, producers)
        target._write(target._moves(moved, -1), timeout_s)
    return len(chosen)


def _fitted(values: Vectors, dim: int, state_floats: int) -> Floats:
    """Values, or values with state, as a table takes them: what aggregation knows comes last, and is missing
    or too much where one table is lazy and the other is not."""
    width = values.shape[1] if values.shape[1] == dim else dim + state_floats
    records = np.zeros((len(values), width), np.float32)
    shared = min(width, values.shape[1])
    records[:, :shared] = values[:, :shared]
    return records


def _check(source: EmbeddingTable, target: EmbeddingTable) -> None:
    if (source.bank.id, source.name) == (target.bank.id, target.name):
        raise InvalidRequestError(f"source and target are one table, {source.name!r}: expected two")
    ours, theirs = source.spec, target.spec
    if ours.dim != theirs.dim or (ours.keys and theirs.keys and ours.keys != theirs.keys):
        raise SpecMismatchError(
            f"table {target.name!r} with dim {theirs.dim} and keys {theirs.keys} cannot take the rows of "
            f"{source.name!r}, with dim {ours.dim} and keys {ours.keys}: expected the same",
            table=target.name,
        )
