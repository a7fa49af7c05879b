"""Handles of tables of tasks when things go wrong: lost and repeated messages, restarts, the end."""

from __future__ import annotations

import pickle
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank.task_matrix import TaskMatrix
from carls.messages import Pull, Pushed
from carls.service import BankProcess
from carls.testing import Direction, Fault, FaultyProxy, connect_with_faults
from carls.testing.tasks import plain_tasks, turn

DIM = 3
FAULTS = [fault for fault in Fault if fault is not Fault.RESTART]
NAMES = ["t0", "t1", "t2"]


def pushed(table: carls.TaskTable, name: str, pull: Pull, answer: Any) -> Pushed:
    """Push as a node does: again, until it is told what became of it."""
    while True:
        try:
            return table.push(name, pull.sequence, *answer)
        except (carls.DeadlineExceededError, carls.UnavailableError, carls.LimitReachedError):
            continue


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(FAULTS), max_size=40), st.lists(st.sampled_from(NAMES), max_size=15))
def test_no_message_moves_a_column_twice(faults: list[Fault], turns: list[str]) -> None:
    """Against a matrix that gets each answer once: whatever is lost, repeated or late."""
    nodes = plain_tasks(3, DIM)
    matrix = TaskMatrix(DIM, "nuclear", 0.5)
    with connect_with_faults(None, [Fault.NONE] * 3 + faults) as bank:
        table = bank.tasks("school", DIM, "nuclear", 0.5)
        for name, node in nodes.items():
            table.join(name, node.profile)
            matrix.join(name, node.profile)
        for name in turns:
            pull = table.pull(name)
            assert pull is not None
            answer = nodes[name].answer(pull, implicit=True)
            assert pushed(table, name, pull, answer) in (Pushed.APPLIED, Pushed.DUPLICATE)
            own = matrix.pull(name)
            assert own is not None
            np.testing.assert_array_equal(own.model, pull.model)
            np.testing.assert_array_equal(own.column, pull.column)
            assert matrix.push(name, own.sequence, *answer) is Pushed.APPLIED
        state = table.state()
        bank._transport.deliver_late()  # type: ignore[attr-defined]
        after = table.state()
        assert state.updates == after.updates == matrix.updates == len(turns)
        assert after.superseded == 0
        np.testing.assert_array_equal(table.models().values, matrix.models().values)
        assert table.gap() == matrix.gap()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(FAULTS), max_size=20), st.lists(st.sampled_from(NAMES), max_size=10))
def test_tasks_join_and_leave_once(faults: list[Fault], names: list[str]) -> None:
    """Each name joins if it is not there and leaves if it is."""
    nodes = plain_tasks(3, DIM)
    expected: list[str] = []
    with connect_with_faults(None, faults) as bank:
        table = bank.tasks("school", DIM)
        for name in names:
            there = name in expected
            while True:
                try:
                    if there:
                        table.leave(name)
                    else:
                        table.join(name, nodes[name].profile)
                except carls.OutcomeUnknownError:
                    break  # kept by the handle
                except (carls.UnavailableError, carls.DeadlineExceededError, carls.LimitReachedError):
                    continue  # nothing was sent
                else:
                    break
            expected = [other for other in expected if other != name] + ([] if there else [name])
        settled = False
        while not settled:
            try:
                table.flush()
                settled = True
            except (carls.DeadlineExceededError, carls.UnavailableError):
                continue
        bank._transport.deliver_late()  # type: ignore[attr-defined]
        assert table.tasks == expected


@settings(deadline=None, max_examples=25)
@given(st.lists(st.permutations(NAMES), min_size=1, max_size=8))
def test_equal_answers_may_arrive_in_any_order(orders: list[list[str]]) -> None:
    """All pull, then all push, in whatever order."""
    nodes = plain_tasks(3, DIM)
    with carls.connect() as bank:
        tables = [bank.tasks(name, DIM, "nuclear", 0.5) for name in ("drawn", "sorted")]
        for table in tables:
            for name, node in nodes.items():
                table.join(name, node.profile)
        for order in orders:
            for table, arrival in zip(tables, (order, NAMES), strict=True):
                pulls = {name: table.pull(name) for name in NAMES}
                for name in arrival:
                    pull = pulls[name]
                    assert pull is not None
                    answer = nodes[name].answer(pull, implicit=True)
                    assert table.push(name, pull.sequence, *answer) is Pushed.APPLIED
        drawn, expected = tables
        np.testing.assert_array_equal(drawn.models().values, expected.models().values)
        assert drawn.gap() == expected.gap()


def test_nodes_go_on_in_a_bank_that_is_started_anew(tmp_path: Any) -> None:
    """One handle for three tasks, as the threads of one process have it."""
    nodes = plain_tasks(3, DIM)
    unix = str(tmp_path / "bank")
    with BankProcess(("--unix", unix)) as server:
        bank = carls.connect(server.url)
        table = bank.tasks("school", DIM, "nuclear", 0.5)
        for name, node in nodes.items():
            table.join(name, node.profile)
        for _ in range(40):
            for name, node in nodes.items():
                turn(table, name, node)
        before, last = table.models(), {name: table.pull(name) for name in nodes}
        server.kill()
    with BankProcess(("--unix", unix)), bank:
        held = last["t0"]
        assert held is not None
        with pytest.raises(carls.BankRestartedError, match="'school' is open again"):
            table.push("t0", held.sequence, *nodes["t0"].answer(held, implicit=True))
        for name, node in nodes.items():
            with pytest.raises(carls.UnknownTaskError):
                table.pull(name)
            table.join(name, node.profile, last[name])
            if name != "t2":
                assert table.pull(name) is None  # whoever went on now would move away
        with pytest.raises(carls.InvalidRequestError, match="expected one that was made"):
            table.push("t0", held.sequence, *nodes["t0"].answer(held, implicit=True))
        np.testing.assert_allclose(table.models().values, before.values, rtol=1e-9, atol=1e-12)
        for name, node in nodes.items():
            assert turn(table, name, node) is Pushed.APPLIED
        gap = table.gap()
        assert gap is not None
        assert gap.relative < 1e-3


def test_an_answer_whose_reply_is_cut_off_is_applied_once() -> None:
    node = plain_tasks(1, DIM)["t0"]
    with BankProcess() as server, FaultyProxy(server.url) as proxy, carls.connect(proxy.url) as bank:
        table = bank.tasks("school", DIM)
        table.join("t0", node.profile)
        turn(table, "t0", node)
        pull = table.pull("t0")
        assert pull is not None
        proxy.cut_after(Direction.TO_CLIENT, 10)
        answer = node.answer(pull, implicit=True)
        assert table.push("t0", pull.sequence, *answer) is Pushed.DUPLICATE  # sent again, and known
        assert table.state().updates == 2


def test_an_answer_to_a_table_that_was_dropped_is_not_taken_for_one_of_the_next() -> None:
    node = plain_tasks(1, DIM)["t0"]
    with carls.connect() as bank:
        old = bank.tasks("school", DIM)
        old.join("t0", node.profile)
        pull = old.pull("t0")
        assert pull is not None
        bank.drop("school")
        with pytest.raises(carls.UnknownTableError):
            old.push("t0", pull.sequence, *node.answer(pull, implicit=True))
        new = bank.tasks("school", DIM)
        new.join("t0", node.profile)
        new.pull("t0")
        with pytest.raises(carls.InvalidRequestError, match="expected one that was made"):
            new.push("t0", pull.sequence, *node.answer(pull, implicit=True))
        assert new.state().updates == 0


def test_a_closed_handle_and_one_that_was_sent_elsewhere() -> None:
    node = plain_tasks(1, DIM)["t0"]
    with BankProcess() as server, carls.connect(server.url) as bank:
        table = bank.tasks("school", DIM, carls.TaskSpec(DIM).regularizer, 2.0)
        table.join("t0", node.profile)
        other = pickle.loads(pickle.dumps(table))
        assert other.spec == table.spec
        assert other.tasks == ["t0"]
        with pytest.raises(carls.InvalidRequestError, match="another node"):
            other.pull("t0")  # it is another handle
        other.bank.close()
        table.close()
        for use in (lambda: table.pull("t0"), table.models, table.state, lambda: table.leave("t0")):
            with pytest.raises(carls.ClosedError):
                use()


def test_waiting_pulls_end_with_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carls.bank.task_matrix.MAX_WAIT_S", 1000.0)  # whoever is not woken waits on
    nodes = plain_tasks(2, DIM)
    with carls.connect() as bank:
        table = bank.tasks("school", DIM, algorithm={"name": "douglas_rachford", "synchronous": True})
        for name, node in nodes.items():
            table.join(name, node.profile)
        turn(table, "t0", nodes["t0"])
        waiting = table.pull_async("t0", wait_s=1000.0)
        with pytest.raises(FutureTimeoutError):
            waiting.result(0.1)
        bank.drop("school")
        assert waiting.result(30) is None
        with pytest.raises(carls.UnknownTableError):
            table.pull("t0")


def test_models_cannot_be_written_to() -> None:
    with carls.connect() as bank:
        table = bank.tasks("school", DIM)
        table.join("t0", plain_tasks(1, DIM)["t0"].profile)
        models = table.models()
        with pytest.raises(ValueError, match="read-only"):
            models.values[0, 0] = 1.0
        with pytest.raises(ValueError, match="read-only"):
            models.of("t0")[0] = 1.0
