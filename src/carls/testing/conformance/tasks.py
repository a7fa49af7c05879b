"""Tables of tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.bank.task_matrix import TaskMatrix
from carls.client import Bank
from carls.client.tasks import TaskTable
from carls.messages import Evidence, Pushed
from carls.specs import (
    DouglasRachford,
    ForwardBackward,
    Graph,
    MeanRegularized,
    Nuclear,
    Ridge,
    Sum,
)
from carls.testing.tasks import PlainTask, plain_tasks, turn

DIM = 3
NOTHING = Evidence(0.0, 0.0, 0.0)
SPECS: list[dict[str, Any]] = [
    {"regularizer": "nuclear", "rho": 0.5},
    {"regularizer": Graph([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]], ["t0", "t1", "t2"]), "rho": 2.0},
    {"regularizer": Sum([(0.5, "ridge"), (2.0, MeanRegularized())]), "algorithm": ForwardBackward(c=0.5)},
    {"regularizer": {"name": "elastic_net", "l1_ratio": 0.25}, "algorithm": DouglasRachford(eta=1.0)},
]
BAD_PUSHES: list[tuple[Any, Any, str]] = [
    (np.ones(DIM + 1), NOTHING, r"\(4,\)"),
    (np.ones((DIM, 1)), NOTHING, "shape"),
    ([1.0, np.nan, 1.0], NOTHING, "element 1"),
    ([1.0, 1.0, 1e31], NOTHING, "at most 1e"),
    (["a", "b", "c"], NOTHING, "numbers"),
    (np.ones(DIM), Evidence(np.inf, 0.0, 0.0), "finite"),
    (np.ones(DIM), (0.0, 0.0), "loss, square and linear"),
]


class TaskTables:
    """Tables of tasks."""

    @pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec["regularizer"])[:12])
    def test_tables_of_tasks_do_as_their_matrix(self, bank: Bank, spec: dict[str, Any]) -> None:
        nodes = plain_tasks(3, DIM)
        table, matrix = bank.tasks("school", DIM, **spec), TaskMatrix(DIM, **spec)
        for name, node in nodes.items():
            table.join(name, node.profile)
            matrix.join(name, node.profile)
        for _ in range(25):
            for name, node in nodes.items():
                assert turn(table, name, node) is turn(matrix, name, node) is Pushed.APPLIED
        found = table.models()
        assert found.tasks == ("t0", "t1", "t2")
        assert found.values.dtype == np.float64
        np.testing.assert_array_equal(found.values, matrix.models().values)
        np.testing.assert_array_equal(found.of("t1"), found.values[:, 1])
        assert table.gap() == matrix.gap()
        assert (table.tasks, table.mu, table.algorithm) == (matrix.tasks, matrix.mu, matrix.algorithm)
        told = [(epoch.updates, epoch.gap, epoch.guard, epoch.longest_delay) for epoch in table.history]
        expected = [(epoch.updates, epoch.gap, epoch.guard, epoch.longest_delay) for epoch in matrix.history]
        assert told == expected

    def test_a_table_of_tasks_finds_the_optimum(self, bank: Bank) -> None:
        nodes = plain_tasks(3, DIM)
        table = joined(bank, nodes, regularizer="ridge", rho=0.7)
        for _ in range(150):
            for name, node in nodes.items():
                turn(table, name, node)
        best = np.stack([n.curvature * n.target / (n.curvature + 1.4) for n in nodes.values()], 1)
        np.testing.assert_allclose(table.models().values, best, atol=1e-8)
        gap = table.gap()
        assert gap is not None
        assert gap.relative < 1e-9

    def test_specs_of_tasks_are_agreed_once(self, bank: Bank) -> None:
        table = bank.tasks("school", DIM, Nuclear(), 2, "forward_backward")
        assert table.spec == carls.TaskSpec(DIM, Nuclear(), 2.0, ForwardBackward())
        opened = bank.open("school")
        assert isinstance(opened, TaskTable)
        assert opened.spec == table.spec
        for other in ({"dim": 4}, {"regularizer": Ridge()}, {"rho": 1.0}, {"algorithm": DouglasRachford()}):
            spec: dict[str, Any] = {"dim": DIM, "rho": 2.0, "algorithm": "forward_backward"} | other
            with pytest.raises(carls.SpecMismatchError, match="exists with another spec"):
                bank.tasks("school", **spec)
        with pytest.raises(carls.SpecMismatchError):
            bank.embeddings("school", dim=DIM)
        assert (len(table), bank.describe("school").rows) == (0, 0)
        bank.drop("school")
        with pytest.raises(carls.UnknownTableError):
            table.models()


def joined(bank: Bank, nodes: dict[str, PlainTask], name: str = "school", **spec: Any) -> TaskTable:
    """A table that all nodes have joined."""
    table = bank.tasks(name, DIM, **spec)
    for task, node in nodes.items():
        table.join(task, node.profile)
    return table
