"""TaskNode and TaskNodes in threads, on a bank in this process and on a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from problems import Problem

import carls
from carls.errors import InvalidRequestError, InvalidSpecError, InvalidValueError, SpecMismatchError
from carls.mtl import DouglasRachford, MultiTaskClassifier, Task, TaskNode, TaskNodes, make_task
from carls.mtl.participant import Participant
from carls.mtl.task import Evaluation

ALGORITHMS = ["douglas_rachford", DouglasRachford(synchronous=True)]


def nodes_of(problem: Problem, bank: Any, table: Any, **options: Any) -> list[TaskNode]:
    triples = zip(problem.names, problem.X, problem.y, strict=True)
    return [TaskNode(bank, table, name, x, y, **options) for name, x, y in triples]


def finish(nodes: list[Any], gap: float, tasks: int) -> None:
    for node in nodes:
        node.start(deadline_s=60.0, until_gap=gap, min_tasks=tasks)
    for node in nodes:
        assert node.wait(70.0)
        assert node.gap is not None
        assert node.gap.relative <= gap


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=["asynchronous", "synchronous"])
def test_nodes_reach_the_optimum_of_the_pooled_data(bank: carls.Bank, algorithm: Any) -> None:
    problem = Problem.random()
    with problem.open(bank, algorithm=algorithm) as table:
        nodes = nodes_of(problem, bank, "table")
        finish(nodes, 1e-9, tasks=3)
        problem.check([node.model for node in nodes])
        problem.check_table(table)
    for node in nodes:
        assert node.progress.updates > 0
        assert node.progress.mean_delay_s > 0
        assert (node.progress.interruptions, node.progress.last_error) == (0, None)
        assert node.intercept == 0.0


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=["asynchronous", "synchronous"])
def test_nodes_that_share_a_process_reach_it_too(bank: carls.Bank, algorithm: Any) -> None:
    problem = Problem.random(tasks=12)
    tasks = {name: make_task(x, y) for name, x, y in zip(problem.names, problem.X, problem.y, strict=True)}
    before = threading.active_count()
    with problem.open(bank, algorithm=algorithm) as table:
        nodes = TaskNodes(None, table, tasks)
        nodes.run(deadline_s=60.0, until_gap=1e-9, min_tasks=12)
        assert list(nodes) == problem.names
        assert sorted(table.tasks) == sorted(problem.names)
        problem.check([nodes[name].model for name in nodes])
        assert all(progress.updates > 0 for progress in nodes.progress.values())
        fitted = nodes["t3"].predict(problem.X[3])
        np.testing.assert_allclose(fitted, problem.X[3] @ nodes["t3"].model)
    assert threading.active_count() <= before + 1


def test_intercepts_stay_with_their_nodes_and_are_the_best() -> None:
    problem = Problem.random()
    y = [np.where(part + index > 0, 1.0, -1.0) for index, part in enumerate(problem.y)]
    fitted = MultiTaskClassifier("nuclear", 0.05, tol=1e-9).fit(problem.X, y)
    with carls.connect() as bank, bank.tasks("table", 5, "nuclear", 0.05) as table:
        labelled = Problem(problem.X, y)
        nodes = nodes_of(labelled, None, table, loss="logistic", fit_intercept=True)
        finish(nodes, 1e-9, tasks=3)
        np.testing.assert_allclose([node.model for node in nodes], fitted.coef_, atol=1e-3)
        np.testing.assert_allclose([node.intercept for node in nodes], fitted.intercept_, atol=1e-3)
        np.testing.assert_allclose(
            nodes[0].predict(problem.X[0]), fitted.decision_function(problem.X)[0], atol=5e-3
        )


def test_a_node_that_stops_stays_in_the_table_and_goes_on_later() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        first = TaskNode(bank, "table", "t0", problem.X[0], problem.y[0])
        first.run(deadline_s=20.0, until_gap=1e-8)
        assert table.tasks == ["t0"]
        again = TaskNode(bank, "table", "t0", problem.X[0], problem.y[0])
        with again:
            while not again.progress.updates:
                assert not again.wait(0.01)
        np.testing.assert_allclose(again.model, first.model, rtol=1e-3)


def participants_of(problem: Problem) -> list[Participant]:
    triples = zip(problem.names, problem.X, problem.y, strict=True)
    return [Participant(name, make_task(x, y)) for name, x, y in triples]


def settle(table: Any, participants: list[Participant]) -> None:
    """Step until all of them rest."""
    for _ in range(5000):
        if min(participant.step(table) for participant in participants) > 0:
            return
    raise AssertionError("they do not come to rest")


def test_the_others_of_a_lost_node_reach_the_optimum_with_its_column_as_it_is() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        participants = participants_of(problem)
        for participant in participants * 3:
            participant.step(table)
        certified = table.state().certified
        settle(table, participants[1:])
        with pytest.raises(AssertionError):
            problem.check_table(table)
        # What the lost task said last counts in the gap, so that no better one is certified.
        assert table.gap().relative > 1e-3
        # The lost task's loss is replaced by mu/2 |w - v|^2.
        table.join("t0", make_task(problem.X[0], problem.y[0]).profile())
        last = table.pull("t0")
        pull = np.sqrt(last.mu) * np.eye(5)
        left = Problem([pull, *problem.X[1:]], [pull @ last.column, *problem.y[1:]])
        left.check_table(table)
        assert certified.relative > 1e-3


def test_nothing_is_certified_of_data_that_a_task_had_before_its_node_joined_again() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        settle(table, participants_of(problem))
        assert table.state().certified.relative < 1e-9
        changed = Problem(problem.X, [-problem.y[0], *problem.y[1:]])
        task = make_task(changed.X[0], changed.y[0])
        with bank.tasks("table", problem.dim, problem.regularizer, problem.rho) as other:
            other.join("t0", task.profile())
            pull = other.pull("t0")
            # A look between the join and the first push of the new data.
            assert (table.gap(), table.state().certified) == (None, None)
            other.push("t0", pull.sequence, *task.answer(pull, other.algorithm))
            assert table.state().certified.relative > 1e-2
        settle(table, participants_of(changed))
        changed.check_table(table)
        assert table.state().certified.relative < 1e-9


def test_when_a_lost_task_is_taken_out_the_others_reach_the_optimum_without_it() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        participants = participants_of(problem)
        for participant in participants * 3:
            participant.step(table)
        table.leave("t0")
        settle(table, participants[1:])
        Problem(problem.X[1:], problem.y[1:]).check(table.models().values.T)
        assert table.gap().relative < 1e-9


def test_a_node_takes_its_column_out_when_told_to_leave(bank: carls.Bank) -> None:
    problem = Problem.random()
    with problem.open(bank) as table:
        nodes = nodes_of(problem, bank.url if bank.url != "memory://" else bank, "table")
        finish(nodes, 1e-4, tasks=3)
        nodes[0].leave()
        assert sorted(table.tasks) == ["t1", "t2"]
        nodes[0].leave()  # it is out
        assert nodes[0].model.shape == (5,)


def test_a_task_taken_out_while_its_node_is_there_comes_back(until: Callable[..., Any]) -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        with TaskNode(bank, "table", "t0", problem.X[0], problem.y[0]) as node:
            until(lambda: node.progress.updates)
            table.leave("t0")
            until(lambda: node.progress.interruptions)
            until(lambda: table.tasks == ["t0"])
            assert "t0" in node.progress.last_error


def test_a_node_with_nothing_to_do_rests_until_its_model_moves() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        participants = participants_of(problem)
        settle(table, participants)
        pauses = [participants[0].step(table) for _ in range(12)]
        assert all(0 < pause <= 1 for pause in pauses)
        assert min(pauses[-3:]) >= 0.5  # of 20 ms, 40 ms, ... up to 1 s
        other = Participant("other", make_task(problem.X[0] + 1, problem.y[0]))
        while participants[0].step(table) > 0:
            other.step(table)


def test_many_tasks_that_come_and_go_do_not_keep_each_other_from_ending() -> None:
    # Who stops first leaves a column that is a little off; what was certified stays so for the others.
    problem = Problem.random(tasks=6)
    random = np.random.default_rng(0)
    with carls.connect() as bank, problem.open(bank):
        nodes = nodes_of(problem, bank, "table", delay=lambda: random.exponential(0.003))
        finish(nodes, 1e-7, tasks=6)
        problem.check([node.model for node in nodes], 1e-3)


def test_a_gap_of_fewer_tasks_than_are_expected_does_not_count() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank):
        alone = TaskNode(bank, "table", "t0", problem.X[0], problem.y[0])
        alone.run(deadline_s=1.0, until_gap=1e-3, min_tasks=2)
        assert alone.gap is not None
        assert alone.gap.relative <= 1e-3
        assert alone.progress.updates > 20  # it went on until the deadline


def test_stopping_wakes_a_node_from_its_delay_and_from_a_synchronous_wait(until: Callable[..., Any]) -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank) as table:
        slow = TaskNode(bank, "table", "t0", problem.X[0], problem.y[0], delay=lambda: 3600.0).start()
        until(lambda: table.tasks)
        slow.stop(timeout_s=5.0)
        assert slow.progress.updates == 0
    with carls.connect() as bank, problem.open(bank, algorithm=DouglasRachford(synchronous=True)):
        nodes = [node.start() for node in nodes_of(problem, bank, "table")]
        nodes[0].stop()
        for node in nodes[1:]:
            until(lambda node=node: node.progress.updates)
            node.stop(timeout_s=5.0)


def test_a_node_waits_for_a_table_that_nobody_has_made_yet(
    bank: carls.Bank, until: Callable[..., Any]
) -> None:
    problem = Problem.random()
    with TaskNode(bank, "table", "t0", problem.X[0], problem.y[0]) as node:
        until(lambda: node.progress.interruptions)
        assert "table" in node.progress.last_error
        with pytest.raises(InvalidRequestError, match="no model yet"):
            _ = node.model
        problem.open(bank)
        until(lambda: node.progress.updates)


class Broken(Task):
    """Fails at its first solve."""

    dim = 5

    def profile(self) -> Any:
        return make_task(np.eye(5), np.ones(5)).profile()

    def evaluate(self, point: Any) -> Evaluation:
        raise ZeroDivisionError("a fault of my own")

    def proximal(self, center: Any, mu: float) -> Any:
        return center


def test_an_exception_of_a_task_ends_the_nodes_and_reaches_their_owner_once(bank: carls.Bank) -> None:
    problem = Problem.random()
    problem.open(bank)
    tasks = {
        "broken": Broken(),
        **{n: make_task(x, y) for n, x, y in zip("abc", problem.X, problem.y, strict=True)},
    }
    nodes = TaskNodes(bank, "table", tasks, threads=3).start()
    with pytest.raises(ZeroDivisionError, match="my own"):
        nodes.wait(30.0)
    assert nodes.wait(30.0)
    nodes.stop()
    with pytest.raises(ZeroDivisionError, match="my own"):
        TaskNodes(bank, "table", tasks, threads=3).run(30.0)


def test_nodes_that_cannot_be_are_refused() -> None:
    x, y = np.eye(5), np.ones(5)
    with carls.connect() as bank:
        table = bank.tasks("table", 5)
        with pytest.raises(InvalidValueError, match="impute"):
            TaskNode(bank, "table", "t", np.full((5, 5), np.nan), y)
        with pytest.raises(InvalidSpecError, match="task"):
            TaskNode(bank, "table", "a task", x, y)
        with pytest.raises(InvalidRequestError, match="private"):
            TaskNode("memory://", "table", "t", x, y)
        with pytest.raises(InvalidRequestError, match="bank=None"):
            TaskNode(None, "table", "t", x, y)
        with pytest.raises(InvalidRequestError, match="handle"):
            TaskNode(bank, 5, "t", x, y)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="one at least"):
            TaskNodes(bank, "table", {})
        with pytest.raises(InvalidRequestError, match="threads"):
            TaskNodes(bank, "table", {"t": make_task(x, y)}, threads=0)
        node = TaskNode(bank, "table", "t", x, y)
        for wrong in ({"until_gap": 0.0}, {"deadline_s": -1.0}, {"min_tasks": 0}):
            with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
                node.run(**wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match=r"4 features.*models of 5"):
            TaskNode(None, table, "t", x[:, :4], y).run(deadline_s=5.0)
        bank.embeddings("rows", dim=5)
        with pytest.raises(SpecMismatchError, match="kind 'embedding'"):
            TaskNode(bank, "rows", "t", x, y).run(deadline_s=5.0)
        assert table.tasks == []


def test_two_nodes_under_one_name_are_found_out(bank: carls.Bank, until: Callable[..., Any]) -> None:
    problem = Problem.random()
    problem.open(bank)
    first = TaskNode(bank, "table", "t0", problem.X[0], problem.y[0]).start()
    until(lambda: first.progress.updates)
    with TaskNode(bank, "table", "t0", problem.X[1], problem.y[1]) as second:
        until(lambda: second.progress.updates)
        with pytest.raises(InvalidRequestError, match="another node"):
            until(lambda: first.wait(0.1))
        first.stop()


def test_a_node_is_started_once() -> None:
    problem = Problem.random()
    with carls.connect() as bank, problem.open(bank):
        with TaskNode(bank, "table", "t0", problem.X[0], problem.y[0]) as node:
            with pytest.raises(InvalidRequestError, match="started before"):
                node.start()
