"""Tables of tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.bank.task_matrix import TaskMatrix
from carls.bank.task_members import MAX_READS
from carls.client import Bank
from carls.client.tasks import TaskTable
from carls.messages import Evidence, Pull, Pushed
from carls.specs import (
    DouglasRachford,
    ForwardBackward,
    Graph,
    MeanRegularized,
    Nuclear,
    Profile,
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

    def test_tables_of_tasks_do_as_their_matrix(self, bank: Bank) -> None:
        for at, spec in enumerate(SPECS):
            nodes = plain_tasks(3, DIM)
            table, matrix = joined(bank, nodes, f"school-{at}", **spec), TaskMatrix(DIM, **spec)
            for name, node in nodes.items():
                matrix.join(name, node.profile)
            for _ in range(10):
                for name, node in nodes.items():
                    assert turn(table, name, node) is turn(matrix, name, node) is Pushed.APPLIED
            self._compare(table, matrix)

    @staticmethod
    def _compare(table: TaskTable, matrix: TaskMatrix) -> None:
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
        for _ in range(60):
            for name, node in nodes.items():
                turn(table, name, node)
        best = np.stack([n.curvature * n.target / (n.curvature + 1.4) for n in nodes.values()], 1)
        np.testing.assert_allclose(table.models().values, best, atol=1e-6)
        gap = table.gap()
        assert gap is not None
        assert gap.relative < 1e-6

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

    def test_specs_of_tasks_that_cannot_be(self, bank: Bank) -> None:
        class Own(Ridge):
            """Of nobody else."""

        changes: list[tuple[dict[str, Any], str]] = [
            ({"dim": 0}, "dim=0"),
            ({"dim": 2**20}, "dim="),
            ({"rho": 0.0}, "rho=0"),
            ({"rho": float("nan")}, "rho=nan"),
            ({"rho": "1"}, "rho='1'"),
            ({"regularizer": "lasso"}, "lasso"),
            ({"regularizer": Own()}, "in JSON, which one of your own has not"),
            ({"regularizer": {"name": "sum", "terms": [[1.0, "nuclear"], [1.0, "l1"]]}}, "closed"),
            ({"algorithm": 3}, "algorithm=3"),
            ({"algorithm": {"name": "forward_backward", "c": 1.5}}, "0 < c < 1"),
        ]
        for change, told in changes:
            spec: dict[str, Any] = {"dim": DIM} | change
            with pytest.raises(carls.InvalidSpecError, match=told):
                bank.tasks("school", **spec)
        assert bank.tables() == []

    def test_an_answer_counts_once(self, bank: Bank) -> None:
        nodes = plain_tasks(2, DIM)
        table = joined(bank, nodes)
        pulls = [table.pull("t0") for _ in range(MAX_READS + 1)]
        first, last = pulls[0], pulls[-1]
        assert first is not None
        assert last is not None
        assert (
            table.push("t0", first.sequence, *nodes["t0"].answer(first, implicit=True)) is Pushed.SUPERSEDED
        )
        answer = nodes["t0"].answer(last, implicit=True)
        assert table.push("t0", last.sequence, *answer) is Pushed.APPLIED
        before = table.models()
        for _ in range(3):
            assert table.push("t0", last.sequence, *answer) is Pushed.DUPLICATE
        np.testing.assert_array_equal(table.models().values, before.values)
        statistics = table.statistics()
        told = statistics.tasks
        assert told is not None
        assert (told.tasks, told.updates, told.duplicates, told.superseded) == (2, 1, 3, 1)
        assert (told.objective, told.bound, told.epochs) == (None, None, 0)
        assert (statistics.counters.writes, statistics.counters.retried) == (1, 3)
        assert [(who.name, who.written) for who in statistics.producers] == [(bank.producer, 1)]

    def test_answers_that_cannot_be_change_nothing(self, bank: Bank) -> None:
        nodes = plain_tasks(2, DIM)
        table = joined(bank, nodes)
        for name, node in nodes.items():
            turn(table, name, node)
        pull = table.pull("t0")
        assert pull is not None
        before = table.models(), table.gap()
        for correction, evidence, told in BAD_PUSHES:
            with pytest.raises(carls.InvalidValueError, match=told):
                table.push("t0", pull.sequence, correction, evidence)
        good = nodes["t0"].answer(pull, implicit=True)
        for sequence in (pull.sequence + 1, pull.sequence - 10**6, 0, -1, 2.5):
            with pytest.raises(carls.InvalidRequestError, match="expected"):
                table.push("t0", sequence, *good)  # type: ignore[arg-type]
        for name in ("t9", "T0"):
            with pytest.raises(carls.UnknownTaskError, match="join first"):
                table.push(name, pull.sequence, *good)
            with pytest.raises(carls.UnknownTaskError, match="join first"):
                table.pull(name)
            with pytest.raises(carls.UnknownTaskError, match="join first"):
                table.leave(name)
        for wait_s in (-1.0, float("nan"), "1"):
            with pytest.raises(carls.InvalidRequestError, match="wait_s"):
                table.pull("t0", wait_s=wait_s)  # type: ignore[arg-type]
        np.testing.assert_array_equal(table.models().values, before[0].values)
        assert table.gap() == before[1]
        assert table.push("t0", pull.sequence, *good) is Pushed.APPLIED

    def test_nodes_that_cannot_join_change_nothing(self, bank: Bank) -> None:
        table = joined(bank, plain_tasks(1, DIM))
        ones, profile = np.ones(DIM), Profile(1.0, 1.0)
        for profiled in (Profile(-1.0, 1.0), Profile(np.nan, 1.0), Profile(1.0, -1.0), Profile(np.inf, 1.0)):
            with pytest.raises(carls.InvalidValueError, match="ridge_norm"):
                table.join("new", profiled)
        for last in (
            Pull(1, 1.0, ones, np.ones(DIM + 1)),
            Pull(1, 1.0, ones * np.nan, ones),
            Pull(1, 0.0, ones, ones),
            Pull(1, np.inf, ones, ones),
        ):
            with pytest.raises(carls.InvalidValueError, match="last"):
                table.join("new", profile, last)
        for name in ("", "a b", "../x", 3):
            with pytest.raises(carls.InvalidSpecError, match="task name"):
                table.join(name, profile)  # type: ignore[arg-type]
        assert table.tasks == ["t0"]
        other = bank.tasks("other", DIM, algorithm="forward_backward")
        with pytest.raises(carls.InvalidSpecError, match="Lipschitz"):
            other.join("t0", Profile(1.0, float("inf")))
        assert (other.tasks, other.mu) == ([], 0.0)

    def test_a_table_without_tasks(self, bank: Bank) -> None:
        table = bank.tasks("school", DIM)
        found = table.models()
        assert (found.tasks, found.values.shape, len(found)) == ((), (DIM, 0), 0)
        assert (table.gap(), table.history, table.state().nodes) == (None, [], ())
        with pytest.raises(carls.InvalidRequestError, match="no model"):
            found.of("t0")

    def test_a_task_has_one_node_at_a_time(self, bank: Bank) -> None:
        nodes = plain_tasks(2, DIM)
        first, second = joined(bank, nodes), bank.tasks("school", DIM)
        turn(first, "t0", nodes["t0"])
        pull = first.pull("t0")
        assert pull is not None
        with pytest.raises(carls.InvalidRequestError, match="another node"):
            second.pull("t0")
        second.join("t0", nodes["t0"].profile)
        assert turn(first, "t0", nodes["t0"]) is Pushed.APPLIED  # until the second one pulls
        pull = first.pull("t0")
        assert pull is not None
        assert second.pull("t0") is not None
        before = second.models()
        assert np.abs(before.of("t0")).max() > 0  # the column is kept
        for use in (
            lambda: first.pull("t0"),
            lambda: first.push("t0", pull.sequence, *nodes["t0"].answer(pull, implicit=True)),
        ):
            with pytest.raises(carls.InvalidRequestError, match="joined by another node since"):
                use()
        np.testing.assert_array_equal(second.models().values, before.values)
        assert turn(second, "t0", nodes["t0"]) is Pushed.APPLIED
        assert turn(first, "t1", nodes["t1"]) is Pushed.APPLIED  # others are as they were
        first.join("t0", nodes["t0"].profile)
        assert turn(first, "t0", nodes["t0"]) is Pushed.APPLIED

    def test_anybody_may_take_a_task_out(self, bank: Bank) -> None:
        nodes = plain_tasks(3, DIM)
        table = joined(bank, nodes, algorithm=DouglasRachford(synchronous=True))
        turn(table, "t0", nodes["t0"])
        turn(table, "t2", nodes["t2"])
        assert table.pull("t0") is None  # t1 holds the round up
        bank.tasks("school", DIM, algorithm=DouglasRachford(synchronous=True)).leave("t1")
        assert table.pull("t0") is not None
        assert table.tasks == ["t0", "t2"]
        with pytest.raises(carls.UnknownTaskError):
            table.pull("t1")
        table.join("t1", nodes["t1"].profile)
        assert table.tasks == ["t0", "t2", "t1"]
        np.testing.assert_array_equal(table.models().of("t1"), 0)

    def test_a_pull_waits_for_the_round(self, bank: Bank) -> None:
        nodes = plain_tasks(2, DIM)
        table = joined(bank, nodes, algorithm=DouglasRachford(synchronous=True))
        turn(table, "t0", nodes["t0"])
        assert table.pull("t0", wait_s=0.05) is None
        pull = table.pull("t1")
        assert pull is not None
        waiting = table.pull_async("t0", wait_s=1.0)
        table.push("t1", pull.sequence, *nodes["t1"].answer(pull, implicit=True))
        found = waiting.result(30)
        assert found is not None
        np.testing.assert_array_equal(found.model, table.models().of("t0"))

    def test_tasks_in_the_background(self, bank: Bank) -> None:
        nodes = plain_tasks(3, DIM)
        table, matrix = bank.tasks("school", DIM), TaskMatrix(DIM)
        for name, node in nodes.items():
            table.join_async(name, node.profile)
            matrix.join(name, node.profile)
        for _ in range(3):
            pulls = {name: (table.pull_async(name).result(30), matrix.pull(name)) for name in nodes}
            for name, node in nodes.items():
                pull, own = pulls[name]
                assert pull is not None
                assert own is not None
                correction, evidence = node.answer(pull, implicit=True)
                pushed = table.push_async(name, pull.sequence, correction, evidence)
                assert pushed.result(30) is matrix.push(name, own.sequence, correction, evidence)
        np.testing.assert_array_equal(table.models_async().result(30).values, matrix.models().values)
        assert table.gap_async().result(30) == matrix.gap()
        assert table.state_async().result(30).updates == 9
        table.leave_async("t1").result(30)
        assert table.tasks == ["t0", "t2"]
        with pytest.raises(carls.UnknownTaskError):
            table.pull_async("t1").result(30)

    def test_watchers_see_every_node(self, bank: Bank) -> None:
        nodes = plain_tasks(3, DIM)
        table = joined(bank, nodes)
        held = {name: table.pull(name) for name in ("t0", "t1")}
        for name, pull in held.items():
            assert pull is not None
            table.push(name, pull.sequence, *nodes[name].answer(pull, implicit=True))
        state = table.state()
        assert state.tasks == ("t0", "t1", "t2")
        assert [node.updates for node in state.nodes] == [1, 1, 0]
        assert [node.behind for node in state.nodes] == [0, 1, -1]
        assert [node.producer for node in state.nodes] == [bank.producer] * 3
        assert all(node.delay_s == node.mean_delay_s >= 0 for node in state.nodes[:2])
        assert state.nodes[2].delay_s == state.nodes[2].mean_delay_s == -1
        assert all(node.seen_s >= 0 for node in state.nodes)
        assert (state.updates, state.epochs, state.longest_delay, state.gap) == (2, 0, 1, None)
        turn(table, "t2", nodes["t2"])
        state = table.state()
        assert (state.epochs, state.guard, state.gap) == (1, 1.0, table.gap())

    def test_nodes_refill_a_table_with_their_last_pulls(self, bank: Bank) -> None:
        for at, spec in enumerate(SPECS):
            nodes = plain_tasks(3, DIM)
            table = joined(bank, nodes, f"school-{at}", **spec)
            for _ in range(5):
                for name, node in nodes.items():
                    turn(table, name, node)
            last = {name: table.pull(name) for name in nodes}
            filled = bank.tasks(f"filled-{at}", DIM, **spec)
            for name, node in nodes.items():
                filled.join(name, node.profile, last[name])
                assert (filled.pull(name) is None) == (name != "t2")  # they wait for each other
            assert filled.mu == table.mu
            np.testing.assert_allclose(filled.models().values, table.models().values, rtol=1e-9, atol=1e-12)
            for name, node in nodes.items():
                assert turn(filled, name, node) is Pushed.APPLIED


def joined(bank: Bank, nodes: dict[str, PlainTask], name: str = "school", **spec: Any) -> TaskTable:
    """A table that all nodes have joined."""
    table = bank.tasks(name, DIM, **spec)
    for task, node in nodes.items():
        table.join(task, node.profile)
    return table
