"""A clock of events around real task nodes and a real matrix: what delays do, without waiting for them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from carls.bank.gap import Evidence
from carls.bank.task_matrix import TaskMatrix
from carls.bank.task_pulls import Pull
from carls.mtl.task import Task


@dataclass(frozen=True, eq=False)
class _Arrival:
    """A push on its way."""

    task: str
    pull: Pull
    correction: Any
    evidence: Evidence


class Simulation:
    """Nodes that pull, work and push for ever, each at its own pace; the matrix answers at once.

    A node that must wait in a synchronous algorithm waits, and pulls when the round is over.

    Args:
        nodes: each task's node.
        matrix: makes the matrix of a clock; nodes join it in their order at time 0.
        pace: draws the seconds from a pull of a task to the arrival of the push that answers it.

    Attributes:
        matrix: that couples the nodes.
        now: seconds since the start.
    """

    def __init__(
        self,
        nodes: Mapping[str, Task],
        matrix: Callable[[Callable[[], float]], TaskMatrix],
        pace: Callable[[str], float],
    ) -> None:
        self.now = 0.0
        self._nodes, self._pace = dict(nodes), pace
        self.matrix = matrix(lambda: self.now)
        self._events: list[tuple[float, int, _Arrival]] = []
        self._waiting = deque(nodes)
        self._sent = 0
        for name, node in nodes.items():
            self.matrix.join(name, node.profile())

    def pushes(self) -> Iterator[float]:
        """Let each push arrive in turn; gives the time of each."""
        while True:
            for _ in range(len(self._waiting)):
                self._send(self._waiting.popleft())
            self.now, _, arrival = heapq.heappop(self._events)
            self.matrix.push(arrival.task, arrival.pull.sequence, arrival.correction, arrival.evidence)
            self._waiting.append(arrival.task)
            yield self.now

    def _send(self, task: str) -> None:
        pull = self.matrix.pull(task)
        if pull is None:
            self._waiting.append(task)
            return
        correction, evidence = self._nodes[task].answer(pull, self.matrix.algorithm)
        self._sent += 1
        arrival = _Arrival(task, pull, correction, evidence)
        heapq.heappush(self._events, (self.now + self._pace(task), self._sent, arrival))
