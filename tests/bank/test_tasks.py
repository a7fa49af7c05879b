"""Tables of tasks of the engine: requests that no handle would send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from carls import messages as m
from carls.bank import Engine
from carls.errors import CarlsError, InvalidRequestError, UnknownTableError
from carls.specs import TaskSpec
from carls.testing.tasks import plain_tasks

DIM = 3
NAN = float("nan")
ONES, NONE = np.ones(DIM), np.zeros(0)
WRITE = iter(range(1, 10**6)).__next__


class Node:
    """A node that knows the messages only."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.task = plain_tasks(1, DIM)["t0"]
        spec = TaskSpec(DIM, rho=0.5)
        self.engine.handle(m.OpenTable("school", spec.to_json()))
        self.engine.handle(self.join())
        pull = self.engine.handle(self.pull())
        assert isinstance(pull, m.Pull)
        self.held = pull

    def join(self, **changes: Any) -> m.JoinTask:
        norm, lipschitz = self.task.profile
        write = m.WriteId("c" * 32, WRITE(), True)
        plain = m.JoinTask("school", "t0", norm, lipschitz, 0.0, NONE, NONE, 0, "n", "me", write)
        return plain._replace(**changes)

    def pull(self, **changes: Any) -> m.PullTask:
        return m.PullTask("school", "t0", 0.0, "n")._replace(**changes)

    def push(self, **changes: Any) -> m.PushTask:
        answer = self.task.answer(self.held, implicit=True)
        return m.PushTask("school", "t0", self.held.sequence, *answer, "n", "me")._replace(**changes)

    def leave(self, **changes: Any) -> m.LeaveTask:
        return m.LeaveTask("school", "t0", "me", m.WriteId("d" * 32, WRITE(), True))._replace(**changes)

    def seen(self) -> Any:
        models = self.engine.handle(m.FetchTaskModels("school"))
        state = self.engine.handle(m.FetchTaskState("school"))
        assert isinstance(models, m.TaskModels)
        assert isinstance(state, m.TaskState)
        return (
            models.tasks,
            models.values.tolist(),
            state.updates,
            state.duplicates,
            state.superseded,
            state.mu,
        )


FORGED: list[Callable[[Node], Any]] = [
    lambda node: node.join(ridge_norm=NAN),
    lambda node: node.join(ridge_norm=-1.0),
    lambda node: node.join(lipschitz=NAN),
    lambda node: node.join(lipschitz=-1.0),
    lambda node: node.join(task="a b"),
    lambda node: node.join(task=""),
    lambda node: node.join(task="new", producer=""),
    lambda node: node.join(task="new", node="n" * 300),
    lambda node: node.join(task="new", mu=1.0),
    lambda node: node.join(task="new", mu=NAN),
    lambda node: node.join(task="new", mu=1.0, model=ONES),
    lambda node: node.join(task="new", mu=1.0, model=ONES, column=np.ones(DIM + 1)),
    lambda node: node.join(task="new", mu=1.0, model=ONES * NAN, column=ONES),
    lambda node: node.join(task="new", mu=1.0, model=ONES, column=ONES * 1e300),
    lambda node: node.join(task="new", mu=0.0, model=ONES, column=ONES),
    lambda node: node.join(task="new", mu=1e300, model=ONES, column=ONES),
    lambda node: node.join(task="new", mu=1.0, model=ONES, column=ONES, tasks=-1),
    lambda node: node.join(task="new", write=m.WriteId("e" * 32, 0, True)),
    lambda node: node.join(task="new", write=m.WriteId("e" * 32, 7, False)),
    lambda node: node.pull(task="t1"),
    lambda node: node.pull(node="another"),
    lambda node: node.pull(wait_s=NAN),
    lambda node: node.pull(wait_s=-1.0),
    lambda node: node.pull(wait_s=float("inf")),
    lambda node: node.push(task="t1"),
    lambda node: node.push(node="another"),
    lambda node: node.push(producer=""),
    lambda node: node.push(sequence=0),
    lambda node: node.push(sequence=-(2**63)),
    lambda node: node.push(sequence=node.held.sequence + 1),
    lambda node: node.push(correction=NONE),
    lambda node: node.push(correction=np.ones(DIM + 1)),
    lambda node: node.push(correction=ONES * NAN),
    lambda node: node.push(correction=ONES * float("inf")),
    lambda node: node.push(correction=ONES * 1e200),
    lambda node: node.push(evidence=m.Evidence(NAN, 0.0, 0.0)),
    lambda node: node.push(evidence=m.Evidence(0.0, float("inf"), 0.0)),
    lambda node: node.push(evidence=m.Evidence(0.0, 0.0, -1e300)),
    lambda node: node.leave(task="t1"),
    lambda node: node.leave(write=m.WriteId("e" * 32, 7, False)),
]


@pytest.mark.parametrize("forge", FORGED, ids=range(len(FORGED)))
def test_forged_requests_change_nothing(forge: Callable[[Node], Any]) -> None:
    node = Node()
    before = node.seen()
    with pytest.raises(CarlsError):
        node.engine.handle(forge(node))
    assert node.seen() == before
    assert node.engine.handle(node.push()) == m.TaskPushed("applied")
    assert node.engine.handle(node.push()) == m.TaskPushed("duplicate")


def test_every_request_needs_a_table_of_tasks() -> None:
    node = Node()
    node.engine.handle(m.OpenTable("items", {"kind": "embedding", "dim": 2}))
    requests: list[Any] = [
        node.join(),
        node.leave(),
        node.pull(),
        node.push(),
        m.FetchTaskModels("x"),
        m.FetchTaskState("x"),
        m.FetchTaskHistory("x"),
    ]
    for request in requests:
        with pytest.raises(UnknownTableError):
            node.engine.handle(request._replace(table="nobody"))
        with pytest.raises(CarlsError, match="of kind 'embedding'"):
            node.engine.handle(request._replace(table="items"))
    with pytest.raises(CarlsError, match="of kind 'tasks'"):
        node.engine.handle(m.Export("school", 0, 5, 0))


def test_a_join_that_is_repeated_does_not_take_a_task_back() -> None:
    node = Node()
    first = node.join(node="one")
    node.engine.handle(first)
    node.engine.handle(node.join(node="two"))
    with pytest.raises(CarlsError):
        node.engine.handle(first)  # another message of its client came since
    assert isinstance(node.engine.handle(node.pull(node="two")), m.Pull)
    with pytest.raises(InvalidRequestError, match="another node"):
        node.engine.handle(node.pull(node="one"))
