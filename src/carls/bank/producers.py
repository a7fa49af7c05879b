"""Producers: the names of those who write, numbered in order of appearance."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from carls.bank.checks import check_producer
from carls.errors import InvalidRequestError

#: Rows keep a producer in 16 bits.
MAX_PRODUCERS = 65_535
#: The name that those share who came when no further one was kept.
OTHERS = "(others)"


class Producers:
    """An append-only list of names; number 0 is "", the bank itself.

    A reader that knows the first n names asks for those from n on, so each name crosses the
    wire once. Producers beyond the 65,534th share the name "(others)".
    """

    def __init__(self) -> None:
        self._names: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        self._lock = threading.Lock()

    def number(self, name: str) -> int:
        """The number of `name`, given to it now if it is new."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        check_producer(name)
        with self._lock:
            if len(self._names) == MAX_PRODUCERS - 1:
                name = OTHERS
            if name not in self._numbers:
                self._names.append(name)
                self._numbers[name] = len(self._names) - 1
            return self._numbers[name]

    def renumber(self, numbers: npt.NDArray[np.uint32], names: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The numbers here of those producers that have `numbers` (n,) in a list `names` elsewhere."""
        used, inverse = np.unique(numbers, return_inverse=True)
        if len(used) and used[-1] >= len(names):
            raise InvalidRequestError(
                f"producer {used[-1]} of {len(names)} names: expected an index into the names"
            )
        here = [self.number(names[number]) for number in used]
        return np.array(here, np.uint32)[inverse]

    def names(self, known: int) -> tuple[str, ...]:
        """The names from number `known` on."""
        if known == len(self._names):
            return ()
        with self._lock:
            return tuple(self._names[max(known, 0) :])
