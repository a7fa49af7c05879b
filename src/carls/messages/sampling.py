"""Messages about candidates drawn from embedding tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from carls.keys import Keys
from carls.messages.rows import Bools, Floats, Vectors


class Sample(NamedTuple):
    """Draw candidates: for each context a row of `n` keys, its positives first.

    `keys` are all contexts' positives and, behind them, keys that no context may draw; there may be
    none, of type int64 then. `positives` says how many each context has; there is at least one
    context. With `hits` a context's positives may be drawn for it too. `strategy` is a strategy's JSON
    form. The same `seed` and `counter`, both from 0 on, give the same candidates as long as nothing
    changes. `dtype`: the widest that the values may travel as, or "none" for no values. Reply:
    `SampleBatch`."""

    table: str
    n: int
    strategy: dict[str, Any]
    keys: Keys
    positives: tuple[int, ...]
    unique: bool
    seed: int
    counter: int
    dtype: str = "float32"
    hits: bool = False


class SampleBatch(NamedTuple):
    """Candidates, one context after the other: `keys`, `expected` counts float32 and `found` of
    (contexts * n,), and `values` (contexts * n, dim) or None where none were asked for. `found` is False for
    positives that have no row: their values are zeros."""

    keys: Keys
    values: Vectors | None
    expected: Floats
    found: Bools
