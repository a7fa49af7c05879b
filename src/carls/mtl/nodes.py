"""TaskNodes: the tasks of one process, coupled with those of others through a bank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType

from carls.client import Bank, TaskTable
from carls.client.arguments import integer
from carls.errors import InvalidRequestError
from carls.mtl.participant import NodeProgress, Participant
from carls.mtl.runner import NodeRunner
from carls.mtl.task import Task


class TaskNodes(NodeRunner, Mapping[str, Participant]):
    """The nodes of several tasks in one process: they take turns on a few threads and share a connection.

    Each is as a `TaskNode` is. What ends one ends all: `leave()` takes all of these tasks out, and an
    exception in one task stops the others here too.

    As a mapping it gives each task's `Participant`, with `model`, `intercept`, `predict` and `progress`.

    Args:
        bank, table: as for `TaskNode`.
        tasks: by name, from `make_task(X, y, ...)`, or of a class of your own.
        threads: at work at once; more of them hide the way to a bank that is far away. Each keeps
            up to two streams open, of all that the server has.
        delay: of a task's name; draws the seconds from its pull to its push, as for `TaskNode`. No
            thread waits for them.

    Raises:
        InvalidRequestError, InvalidSpecError: an argument that cannot be.
    """

    def __init__(
        self,
        bank: Bank | str | None,
        table: TaskTable | str,
        tasks: Mapping[str, Task],
        *,
        threads: int = 4,
        delay: Callable[[str], float] | None = None,
    ) -> None:
        if not tasks:
            raise InvalidRequestError("tasks={}: expected one at least")
        self._by_name = {
            name: Participant(name, task, None if delay is None else partial(delay, name))
            for name, task in tasks.items()
        }
        super().__init__(bank, table, list(self._by_name.values()), integer("threads", threads, 1))

    def __getitem__(self, task: str) -> Participant:
        self._raise()
        return self._by_name[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def progress(self) -> Mapping[str, NodeProgress]:
        """What each task has done so far; raises the exception that stopped them, if any, once."""
        self._raise()
        return MappingProxyType({name: one.progress for name, one in self._by_name.items()})
