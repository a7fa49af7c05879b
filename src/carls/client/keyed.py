"""Tables whose rows have keys."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from carls.client.handle import TableHandle
from carls.client.split import split
from carls.keys import Keys
from carls.messages import Bools, Erase, Erased
from carls.specs import KeyedSpec

S = TypeVar("S", bound=KeyedSpec)


class KeyedTable(TableHandle[S]):
    """What all tables can do with rows that have keys."""

    def erase(self, keys: Any, timeout_s: float | None = None) -> Bools:
        """Remove the rows of n keys; returns (n,) bool, whether each had one."""
        batch = Keys.of(keys)
        self._forget_rows()
        parts = [partial(Erase, self.name, batch[rows]) for rows in split(batch, 1)]
        replies = self._write(parts, timeout_s)
        return np.concatenate([cast("Erased", reply).found for reply in replies])
