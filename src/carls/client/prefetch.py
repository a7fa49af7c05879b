"""Look-ups that were started ahead of the ones that will use them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from carls.client.results import RowsMeta
from carls.keys import Keys
from carls.messages import AgeBound

#: Look-ups that may be under way ahead of the one that will use them.
MAX_PREFETCHED = 8

#: What a look-up is asked with: keys, whether to create rows, and the bound on their age.
Question: TypeAlias = tuple[Keys, bool, AgeBound]

R = TypeVar("R", bound=RowsMeta)


@dataclass(frozen=True, eq=False)
class _Ahead(Generic[R]):
    question: Question
    rows: Future[R]


class Prefetched(Generic[R]):
    """The look-ups under way, oldest first. Thread-safe. The one that is one too many is dropped."""

    def __init__(self) -> None:
        self._ahead: deque[_Ahead[R]] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ahead)

    def start(self, question: Question, begin: Callable[[int], Future[R]]) -> None:
        """Keep the look-up that `begin` starts; it is told how many are ahead of it."""
        with self._lock:
            if len(self._ahead) == MAX_PREFETCHED:
                self._ahead.popleft().rows.cancel()
            self._ahead.append(_Ahead(question, begin(len(self._ahead))))

    def take(self, question: Question) -> Future[R] | None:
        """The oldest look-up that asks just this; the caller waits for it."""
        keys, *rest = question
        with self._lock:
            for ahead in self._ahead:
                asked, *others = ahead.question
                if others == rest and asked == keys:
                    self._ahead.remove(ahead)
                    return ahead.rows
        return None

    def drop(self) -> None:
        """Cancel all."""
        with self._lock:
            for ahead in self._ahead:
                ahead.rows.cancel()
            self._ahead.clear()
