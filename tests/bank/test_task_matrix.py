"""The matrix that couples tasks: what is applied, once, and what it converges to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls.bank.gap import Evidence
from carls.bank.task_matrix import GATHERING_S, TaskMatrix
from carls.bank.task_members import MAX_READS
from carls.bank.task_pulls import Pushed
from carls.errors import (
    CarlsError,
    InvalidRequestError,
    InvalidSpecError,
    InvalidValueError,
    TableFullError,
)
from carls.mtl import make_task
from carls.specs import DouglasRachford, ForwardBackward, Graph, Profile, Regularizer, Sum
from carls.specs.algorithms import Delays

NOTHING = Evidence(0.0, 0.0, 0.0)
PROFILE = Profile(2.0, 3.0)


class Quadratic:
    """l(x) = curvature/2 |x - target|^2, by hand."""

    def __init__(self, target: Any, curvature: float = 1.0) -> None:
        self.target, self.curvature = np.array(target, float), curvature
        self.profile = Profile(float(np.linalg.norm(self.target)), curvature)

    def answer(self, pull: Any, implicit: bool) -> tuple[Any, Evidence]:
        center = 2 * pull.model - pull.column
        x = (self.curvature * self.target + pull.mu * center) / (self.curvature + pull.mu)
        x = x if implicit else pull.model
        y = self.curvature * (x - self.target)
        loss = self.curvature / 2 * float(np.sum((x - self.target) ** 2))
        evidence = Evidence(loss, float(y @ y) / (2 * self.curvature), float(y @ self.target))
        return pull.model - pull.column - y / pull.mu, evidence


def ridge_optimum(nodes: dict[str, Quadratic], rho: float) -> Any:
    """min c/2 |x - a|^2 + rho |x|^2 has x = c a / (c + 2 rho)."""
    return np.stack([n.curvature * n.target / (n.curvature + 2 * rho) for n in nodes.values()], 1)


def some_nodes(count: int = 3, dim: int = 2, seed: int = 0) -> dict[str, Quadratic]:
    random = np.random.default_rng(seed)
    return {f"t{k}": Quadratic(random.standard_normal(dim) * 3, 1.0 + k) for k in range(count)}


def joined(nodes: dict[str, Quadratic], **arguments: Any) -> TaskMatrix:
    matrix = TaskMatrix(len(next(iter(nodes.values())).target), **arguments)
    for name, node in nodes.items():
        matrix.join(name, node.profile)
    return matrix


def turn(matrix: TaskMatrix, name: str, node: Quadratic) -> Pushed:
    pull = matrix.pull(name)
    assert pull is not None
    return matrix.push(name, pull.sequence, *node.answer(pull, matrix.algorithm.implicit))


ALGORITHMS = [DouglasRachford(), ForwardBackward(), ForwardBackward(adaptive=True)]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_converges_to_the_optimum_and_certifies_it(algorithm: Any) -> None:
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="ridge", rho=0.7, algorithm=algorithm)
    for _ in range(400):
        for name, node in nodes.items():
            assert turn(matrix, name, node) is Pushed.APPLIED
    np.testing.assert_allclose(matrix.models().values, ridge_optimum(nodes, 0.7), atol=1e-8)
    gap = matrix.gap()
    assert gap is not None
    assert gap.relative < 1e-9
    best = ridge_optimum(nodes, 0.7)
    objective = 0.7 * np.sum(best**2) + sum(
        n.curvature / 2 * np.sum((best[:, k] - n.target) ** 2) for k, n in enumerate(nodes.values())
    )
    assert gap.bound <= objective * (1 + 1e-12)
    assert gap.objective == pytest.approx(objective)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(ALGORITHMS))
def test_the_bound_is_never_above_the_optimum(seed: int, algorithm: Any) -> None:
    nodes = some_nodes(seed=seed)
    best = ridge_optimum(nodes, 0.7)
    objective = 0.7 * np.sum(best**2) + sum(
        n.curvature / 2 * np.sum((best[:, k] - n.target) ** 2) for k, n in enumerate(nodes.values())
    )
    matrix = joined(nodes, regularizer="ridge", rho=0.7, algorithm=algorithm)
    random = np.random.default_rng(seed)
    for _ in range(15):
        name = f"t{random.integers(3)}"
        turn(matrix, name, nodes[name])
        gap = matrix.gap()
        if gap is not None:
            assert gap.bound <= objective * (1 + 1e-9)
            assert gap.objective >= objective * (1 - 1e-9)


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_lost_repeated_and_late_messages_change_nothing(data: Any) -> None:
    """Two matrices, of which one gets each push again and again, and pulls whose replies are lost."""
    nodes = some_nodes()
    clock = iter(range(10**6)).__next__
    faulty, plain = (
        joined(nodes, regularizer="nuclear", rho=0.5, clock=lambda: float(clock())) for _ in range(2)
    )
    sent: list[Any] = []
    for _ in range(data.draw(st.integers(5, 25))):
        name = data.draw(st.sampled_from(sorted(nodes)))
        assert turn(plain, name, nodes[name]) is Pushed.APPLIED
        for _ in range(data.draw(st.integers(0, 2))):
            faulty.pull(name)  # the reply is lost
        pull = faulty.pull(name)
        assert pull is not None
        for _ in range(data.draw(st.integers(0, 2))):
            faulty.pull(name)  # repeated on the way, answered after the node had its reply
        message = (name, pull.sequence, *nodes[name].answer(pull, True))
        assert faulty.push(*message) is Pushed.APPLIED
        sent.append(message)
        for _ in range(data.draw(st.integers(0, 3))):
            assert faulty.push(*data.draw(st.sampled_from(sent))) is Pushed.DUPLICATE
    np.testing.assert_array_equal(faulty.models().values, plain.models().values)
    assert faulty.gap() == plain.gap()
    assert faulty.updates == plain.updates


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 10_000))
def test_the_optimum_does_not_depend_on_the_order_of_arrival(seed: int) -> None:
    nodes = some_nodes(4, 3)
    random = np.random.default_rng(seed)
    matrix = joined(nodes, regularizer="nuclear", rho=0.5)
    held = {name: matrix.pull(name) for name in nodes}
    for _ in range(800):
        name = f"t{random.integers(4)}"
        pull = held[name]
        assert pull is not None
        matrix.push(name, pull.sequence, *nodes[name].answer(pull, True))
        held[name] = matrix.pull(name)
    in_turn = joined(nodes, regularizer="nuclear", rho=0.5)
    for _ in range(300):
        for name, node in nodes.items():
            turn(in_turn, name, node)
    np.testing.assert_allclose(matrix.models().values, in_turn.models().values, atol=1e-5)


def test_rounds_of_a_synchronous_matrix_do_not_depend_on_order() -> None:
    nodes = some_nodes(4, 3)
    matrices = []
    for order in (list(nodes), list(nodes)[::-1]):
        matrix = joined(nodes, regularizer="nuclear", rho=0.5, algorithm=DouglasRachford(synchronous=True))
        for _ in range(20):
            for name in order:
                assert turn(matrix, name, nodes[name]) is Pushed.APPLIED
        matrices.append(matrix)
    np.testing.assert_array_equal(matrices[0].models().values, matrices[1].models().values)


def test_a_synchronous_matrix_moves_when_all_have_pushed() -> None:
    nodes = some_nodes(2)
    matrix = joined(nodes, regularizer="ridge", algorithm=DouglasRachford(synchronous=True))
    turn(matrix, "t0", nodes["t0"])
    assert matrix.pull("t0") is None
    np.testing.assert_array_equal(matrix.models().values, 0)
    turn(matrix, "t1", nodes["t1"])
    assert matrix.pull("t0") is not None
    assert np.abs(matrix.models().values).min() > 0
    assert len(matrix.history) == 1


def test_a_synchronous_round_ends_without_a_task_that_left() -> None:
    nodes = some_nodes(2)
    matrix = joined(nodes, regularizer="ridge", algorithm=DouglasRachford(synchronous=True))
    turn(matrix, "t0", nodes["t0"])
    matrix.leave("t1")
    assert matrix.pull("t0") is not None


def test_a_task_that_joins_late_and_one_that_leaves() -> None:
    nodes = some_nodes(4)
    matrix = joined({name: nodes[name] for name in ("t0", "t1", "t2")}, regularizer="ridge", rho=0.7)
    for _ in range(50):
        for name in ("t0", "t1", "t2"):
            turn(matrix, name, nodes[name])
    matrix.join("t3", nodes["t3"].profile)
    assert matrix.gap() is None  # nothing is known of the new one
    matrix.leave("t1")
    left = [name for name in nodes if name != "t1"]
    assert sorted(matrix.tasks) == left
    for _ in range(300):
        for name in left:
            turn(matrix, name, nodes[name])
    there = {name: nodes[name] for name in matrix.tasks}
    np.testing.assert_allclose(matrix.models().values, ridge_optimum(there, 0.7), atol=1e-8)
    assert matrix.gap().relative < 1e-9  # type: ignore[union-attr]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_models_stay_when_mu_changes(algorithm: Any) -> None:
    """A task that joins may change mu by far; pushes on their way then count as well."""
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="nuclear", rho=0.7, algorithm=algorithm)
    for _ in range(20):
        for name, node in nodes.items():
            turn(matrix, name, node)
    before, mu, pull = matrix.models().values, matrix.mu, matrix.pull("t0")
    assert pull is not None
    nodes["new"] = Quadratic([100.0, 50.0], 40.0)
    matrix.join("new", nodes["new"].profile)
    assert not 0.5 < matrix.mu / mu < 2
    np.testing.assert_allclose(matrix.models().values[:, :3], before, atol=1e-12)
    late = nodes["t0"].answer(pull, algorithm.implicit)
    assert matrix.push("t0", pull.sequence, *late) is Pushed.APPLIED
    for _ in range(1500):
        for name, node in nodes.items():
            turn(matrix, name, node)
    assert matrix.gap().relative < 1e-8  # type: ignore[union-attr]


def test_a_node_that_comes_back_goes_on_with_its_column() -> None:
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="ridge", rho=0.7)
    for _ in range(20):
        for name, node in nodes.items():
            turn(matrix, name, node)
    before = matrix.models().values
    matrix.join("t0", nodes["t0"].profile)
    np.testing.assert_array_equal(matrix.models().values, before)
    assert turn(matrix, "t0", nodes["t0"]) is Pushed.APPLIED


def test_a_pull_that_was_overtaken_is_superseded() -> None:
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="ridge")
    first = matrix.pull("t0")
    assert first is not None
    for _ in range(MAX_READS):
        matrix.pull("t0")
    before = matrix.models().values
    assert matrix.push("t0", first.sequence, [1.0, 1.0], NOTHING) is Pushed.SUPERSEDED
    np.testing.assert_array_equal(matrix.models().values, before)


def test_a_push_from_before_a_task_left_and_came_back_is_superseded() -> None:
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="ridge")
    pull = matrix.pull("t0")
    assert pull is not None
    matrix.leave("t0")
    matrix.join("t0", PROFILE)
    assert matrix.push("t0", pull.sequence, [1.0, 1.0], NOTHING) is Pushed.SUPERSEDED


def test_the_guard_halves_steps_down_to_a_floor() -> None:
    algorithm = DouglasRachford()
    delays = Delays(50, 0.0)
    floor = 1 / (2 * 50 / 5 + 1)
    assert algorithm.relaxation(25, delays, 1.0) == 1.5
    assert algorithm.relaxation(25, delays, 0.25) == 1.5 / 4
    assert algorithm.relaxation(25, delays, 2.0**-20) == pytest.approx(floor)
    assert algorithm.diverged(4.1, 1.0)
    assert not algorithm.diverged(3.9, 1.0)


def test_the_papers_relaxation() -> None:
    constant = 0.9 / (2 * 6 / 3 + 1)
    assert ForwardBackward().relaxation(9, Delays(6, 100.0), 1.0) == pytest.approx(constant)
    adaptive = ForwardBackward(adaptive=True)
    assert adaptive.relaxation(9, Delays(6, 100.0), 1.0) == pytest.approx(constant * np.log(100))
    assert adaptive.relaxation(9, Delays(6, 0.1), 1.0) == pytest.approx(constant * np.log(10))
    assert adaptive.relaxation(9, Delays(0, 0.1), 1.0) == 1.0
    assert ForwardBackward(synchronous=True).relaxation(9, Delays(6, 100.0), 1.0) == 1.0


def test_history_tells_when_and_how_late() -> None:
    nodes, now = some_nodes(), [0.0]
    matrix = joined(nodes, regularizer="ridge", rho=0.7, clock=lambda: now[0])
    held = {name: matrix.pull(name) for name in nodes}
    for name, node in nodes.items():
        now[0] += 1
        matrix.push(name, held[name].sequence, *node.answer(held[name], True))  # type: ignore[union-attr]
    (epoch,) = matrix.history
    assert (epoch.at, epoch.updates, epoch.longest_delay) == (3.0, 3, 2)
    assert epoch.gap == matrix.gap()


BAD: list[tuple[Any, type[CarlsError], str]] = [
    (lambda m, p: m.push("t0", p, [1.0], NOTHING), InvalidValueError, r"\(1,\)"),
    (lambda m, p: m.push("t0", p, [1.0, np.nan], NOTHING), InvalidValueError, "finite"),
    (lambda m, p: m.push("t0", p, [1.0, 1.0], Evidence(np.inf, 0, 0)), InvalidValueError, "finite"),
    (lambda m, p: m.push("t0", p, [1.0, 1.0], (0.0, 0.0)), InvalidValueError, "loss, square and linear"),
    (lambda m, p: m.push("t0", p, ["a", "b"], NOTHING), InvalidValueError, "expected numbers"),
    (lambda m, p: m.push("t9", p, [1.0, 1.0], NOTHING), InvalidRequestError, "t9"),
    (
        lambda m, p: m.push("t0", p + 1, [1.0, 1.0], NOTHING),
        InvalidRequestError,
        "expected one that was made",
    ),
    (lambda m, p: m.push("t0", 0, [1.0, 1.0], NOTHING), InvalidRequestError, "expected one that was made"),
    (lambda m, p: m.pull("t9"), InvalidRequestError, "join"),
    (lambda m, p: m.leave("t9"), InvalidRequestError, "t9"),
    (lambda m, p: m.join("", PROFILE), InvalidSpecError, "task name"),
    (lambda m, p: m.join("t9", Profile(-1.0, 1.0)), InvalidValueError, "ridge_norm"),
    (lambda m, p: m.join("t9", Profile(float("nan"), 1.0)), InvalidValueError, "ridge_norm"),
]


@pytest.mark.parametrize(("call", "error", "told"), BAD)
def test_bad_input_changes_nothing(call: Any, error: type[CarlsError], told: str) -> None:
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="ridge")
    for name, node in nodes.items():
        turn(matrix, name, node)
    pull = matrix.pull("t0")
    assert pull is not None
    before, tasks = matrix.models().values, matrix.tasks
    with pytest.raises(error, match=told):
        call(matrix, pull.sequence)
    np.testing.assert_array_equal(matrix.models().values, before)
    assert matrix.tasks == tasks
    assert matrix.push("t0", pull.sequence, *nodes["t0"].answer(pull, True)) is Pushed.APPLIED


REFILLED = [
    {"regularizer": "nuclear", "rho": 0.5},
    {"regularizer": "mean", "rho": 2.0},
    {"regularizer": "l21", "rho": 0.5, "algorithm": ForwardBackward()},
    {"regularizer": "elastic_net", "rho": 1.0, "algorithm": DouglasRachford(synchronous=True)},
]


def after(rounds: int, matrix: TaskMatrix, nodes: dict[str, Quadratic]) -> TaskMatrix:
    for _ in range(rounds):
        for name, node in nodes.items():
            turn(matrix, name, node)
    return matrix


@pytest.mark.parametrize("arguments", REFILLED, ids=lambda arguments: arguments["regularizer"])
def test_a_refilled_matrix_begins_near_and_finds_the_same_optimum(arguments: dict[str, Any]) -> None:
    nodes = some_nodes(4, 3)
    old, anew = after(200, joined(nodes, **arguments), nodes), joined(nodes, **arguments)
    filled = TaskMatrix(3, **arguments)
    for name, node in nodes.items():
        filled.join(name, node.profile, old.pull(name))
    np.testing.assert_allclose(filled.models().values, old.models().values, atol=1e-9)
    assert filled.mu == old.mu
    near, far = after(1, filled, nodes).gap(), after(1, anew, nodes).gap()
    assert near is not None
    assert far is not None
    assert near.relative < far.relative / 100
    found, expected = (after(400, matrix, nodes).models().values for matrix in (filled, anew))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_columns_are_put_back_whatever_mu_is_now() -> None:
    """A node without a last pull joins first, others come back with pulls of different times."""
    nodes = some_nodes(4, 3)
    old = joined(nodes, regularizer="nuclear", rho=0.5)
    last = {name: after(20, old, nodes).pull(name) for name in nodes}
    filled = TaskMatrix(3, "nuclear", 0.5)
    filled.join("t0", nodes["t0"].profile)
    turn(filled, "t0", nodes["t0"])
    for name in ("t1", "t2", "t3"):
        mu = filled.mu
        filled.join(name, nodes[name].profile, last[name])
        assert filled.mu == mu  # the matrix has begun with its own
        pull, gone = filled.pull(name), last[name]
        assert pull is not None
        assert gone is not None
        scaled = (gone.column - gone.model) * gone.mu / mu
        np.testing.assert_allclose(pull.column - gone.model, scaled, atol=1e-12)
    found, expected = (after(500, matrix, nodes).models().values for matrix in (filled, old))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_tasks_that_come_back_wait_for_each_other_but_not_for_ever() -> None:
    nodes, now = some_nodes(3), [0.0]
    old = after(20, joined(nodes, regularizer="nuclear", rho=0.5), nodes)
    last = {name: old.pull(name) for name in nodes}
    assert {pull.tasks for pull in last.values()} == {3}  # type: ignore[union-attr]
    for all_come in (True, False):
        matrix = TaskMatrix(2, "nuclear", 0.5, clock=lambda: now[0])
        for name in ("t0", "t1"):
            matrix.join(name, nodes[name].profile, last[name])
            now[0] += 1
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(matrix.pull, "t0", 1.0)
            assert matrix.pull("t1") is None
            if all_come:
                matrix.join("t2", nodes["t2"].profile, last["t2"])
                assert waiting.result(20) is not None
            else:
                assert waiting.result(20) is None
                now[0] += GATHERING_S
        assert turn(matrix, "t1", nodes["t1"]) is Pushed.APPLIED
        matrix.leave("t1")
        assert matrix.pull("t0") is not None
        now[0] += GATHERING_S
        matrix.join("t1", nodes["t1"].profile, last["t1"])  # one that returns to those at work
        assert turn(matrix, "t0", nodes["t0"]) is Pushed.APPLIED


def test_tasks_that_come_back_wait_once_however_many_come_late() -> None:
    nodes, now = some_nodes(4), [0.0]
    old = after(20, joined(nodes, regularizer="nuclear", rho=0.5), nodes)
    last = {name: old.pull(name) for name in nodes}
    matrix = TaskMatrix(2, "nuclear", 0.5, clock=lambda: now[0])
    matrix.join("t0", nodes["t0"].profile, last["t0"])
    assert matrix.pull("t0") is None
    for name in ("t1", "t2"):  # each when the wait for it is over, and before anybody has pushed
        now[0] += GATHERING_S
        matrix.join(name, nodes[name].profile, last[name])
        assert matrix.pull("t0") is not None


def test_a_pull_waits_until_the_round_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carls.bank.task_matrix.MAX_WAIT_S", 1000.0)  # whoever is not woken waits on
    nodes = some_nodes(3)
    endings = {
        "the last push": lambda matrix: turn(matrix, "t2", nodes["t2"]),
        "the last one leaves": lambda matrix: matrix.leave("t2"),
        "the end": lambda matrix: matrix.close(),
    }
    for what, end in endings.items():
        matrix = joined(nodes, regularizer="ridge", algorithm=DouglasRachford(synchronous=True))
        turn(matrix, "t0", nodes["t0"])
        turn(matrix, "t1", nodes["t1"])
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(matrix.pull, name, 1000.0) for name in ("t0", "t1")]
            assert not wait(waiting, 0.05).done
            end(matrix)
            pulls = [one.result(20) for one in waiting]
        assert [pull is None for pull in pulls] == [what == "the end"] * 2


def test_two_nodes_under_one_name_are_found_out() -> None:
    nodes = some_nodes(2)
    matrix = joined(nodes, regularizer="ridge")
    pull = matrix.pull("t0")
    assert pull is not None
    matrix.join("t0", nodes["t0"].profile, node="other", producer="host/7")
    assert matrix.pull("t0", node="other") is not None
    for use in (
        lambda: matrix.pull("t0"),
        lambda: matrix.push("t0", pull.sequence, [1.0, 1.0], NOTHING),
    ):
        with pytest.raises(InvalidRequestError, match="another node since, of 'host/7'"):
            use()
    late = nodes["t0"].answer(pull, True)
    assert matrix.push("t0", pull.sequence, *late, node="other") is Pushed.SUPERSEDED
    assert matrix.updates == 0


def test_the_join_of_a_dead_node_that_comes_late_stops_nobody() -> None:
    nodes = some_nodes(2)
    matrix = after(20, joined(nodes, regularizer="ridge", clock=lambda: 0.0), nodes)
    before = matrix.state()
    for number in range(20):
        matrix.join("t0", Profile(1e6, 1e6), node=f"dead {number}")
        assert matrix.state() == before
        assert turn(matrix, "t0", nodes["t0"]) is Pushed.APPLIED
        before = matrix.state()
    # Of two that are alive the one that joined last answers.
    matrix.join("t0", nodes["t0"].profile, node="first")
    matrix.join("t0", nodes["t0"].profile, node="second")
    assert matrix.pull("t0", node="second") is not None
    for name in ("first", "", "dead 19"):
        with pytest.raises(InvalidRequestError, match="another node"):
            matrix.pull("t0", node=name)
    # The one that answers has joined again, and the other one has joined between: it was not the last.
    matrix.join("t0", nodes["t0"].profile, node="first")
    matrix.join("t0", nodes["t0"].profile, node="second")
    assert matrix.pull("t0", node="second") is not None
    with pytest.raises(InvalidRequestError, match="another node"):
        matrix.pull("t0", node="first")


def test_a_matrix_is_full_at_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carls.bank.task_members.MAX_TASKS", 3)
    matrix = joined(some_nodes(3), regularizer="ridge")
    with pytest.raises(TableFullError, match="at most 3 tasks"):
        matrix.join("t9", PROFILE)
    matrix.join("t0", PROFILE)
    matrix.leave("t1")
    matrix.join("t9", PROFILE)
    assert matrix.tasks == ["t0", "t2", "t9"]
    monkeypatch.setattr("carls.bank.task_members.MAX_TASKS", 4)
    monkeypatch.setattr("carls.bank.task_members.MAX_ELEMENTS", 6)
    with pytest.raises(TableFullError, match="6 numbers"):
        matrix.join("t8", PROFILE)


def test_bytes_grow_with_tasks_and_open_pulls() -> None:
    matrix = joined(some_nodes(3, 7), regularizer="ridge")
    matrix.models()
    tasks = matrix.nbytes
    assert tasks >= 3 * 7 * 8 * 2
    matrix.pull("t0")
    assert matrix.nbytes == tasks + 2 * 7 * 8
    matrix.leave("t1")
    assert matrix.nbytes < tasks


def test_a_node_that_comes_back_with_the_same_data_does_not_reset_mu() -> None:
    nodes = some_nodes()
    matrix = joined(nodes, regularizer="nuclear", rho=0.5)
    guess = matrix.mu
    after(20, matrix, nodes)
    mu, epochs = matrix.mu, matrix.state().epochs
    assert mu != guess
    norm, lipschitz = nodes["t0"].profile
    for rounded in (norm, np.nextafter(norm, np.inf), norm * (1 - 1e-13)):  # as other machines add up
        matrix.join("t0", Profile(float(rounded), lipschitz), node="a new process")
        assert matrix.pull("t0", node="a new process") is not None
        assert (matrix.mu, matrix.state().epochs) == (mu, epochs)
    matrix.join("t0", Profile(2 * norm, lipschitz), node="a new process")
    assert matrix.state().epochs == 0


def test_numbers_that_would_overflow_are_refused() -> None:
    matrix = TaskMatrix(2, "nuclear", 1.0)
    with pytest.raises(InvalidValueError, match="would need mu"):
        matrix.join("a", Profile(1e-100, 1.0))
    assert matrix.tasks == []
    with pytest.raises(InvalidValueError, match="ridge_norm"):
        matrix.join("a", Profile(1e200, 1.0))
    matrix.join("a", PROFILE)
    for _ in range(3):
        pull = matrix.pull("a")
        assert pull is not None
        matrix.push("a", pull.sequence, [1e30, -1e30], Evidence(1e30, 1e30, 1e30))
    assert np.isfinite(matrix.models().values).all()
    assert 0 < matrix.mu < np.inf


def test_forward_backward_refuses_losses_of_unknown_curvature() -> None:
    matrix = TaskMatrix(2, "ridge", 1.0, "forward_backward")
    with pytest.raises(InvalidSpecError, match="Lipschitz"):
        matrix.join("a", Profile(1.0, float("inf")))
    assert matrix.tasks == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"dim": 0},
        {"dim": True},
        {"rho": 0.0},
        {"rho": float("nan")},
        {"regularizer": "x"},
        {"algorithm": "x"},
    ],
)
def test_matrices_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError):
        TaskMatrix(**{"dim": 2, **arguments})


@pytest.mark.parametrize("sums", [False, True])
def test_tasks_of_a_graph_join_one_by_one_and_leave(sums: bool) -> None:
    nodes = dict(zip("cab", some_nodes().values(), strict=True))
    relations = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    graph: Regularizer = Graph(relations, tasks=["a", "b", "c"])
    matrix = joined(nodes, regularizer=Sum([(2, graph)]) if sums else graph, rho=1.0)
    for _ in range(200):
        for name, node in nodes.items():
            turn(matrix, name, node)
    # The gradient of c/2 |x - a|^2 for each task, and of rho |W R|^2, cancel.
    order = [list("abc").index(name) for name in nodes]
    gram = (relations @ relations.T)[np.ix_(order, order)] * (2 if sums else 1)
    curvatures = np.array([node.curvature for node in nodes.values()])
    targets = np.stack([node.curvature * node.target for node in nodes.values()], 1)
    optimum = np.linalg.solve(np.diag(curvatures) + 2 * gram, targets.T).T
    np.testing.assert_allclose(matrix.models().values, optimum, rtol=1e-6, atol=1e-8)
    for name in nodes:
        matrix.leave(name)
    assert matrix.models().values.shape == (2, 0)


def test_mu_does_not_vanish_with_the_gradients() -> None:
    # Two equations and six unknowns for each task: models that are alike solve all, with no gradient left.
    random = np.random.default_rng(1)
    xs, ys = random.standard_normal((2, 2, 6)), random.standard_normal((2, 2))
    nodes = {f"t{k}": make_task(x, y) for k, (x, y) in enumerate(zip(xs, ys, strict=True))}
    matrix = TaskMatrix(6, "mean", 1.0)
    for name, node in nodes.items():
        matrix.join(name, node.profile())
    for _ in range(1000):
        for name, node in nodes.items():
            pull = matrix.pull(name)
            assert pull is not None
            matrix.push(name, pull.sequence, *node.answer(pull, matrix.algorithm))
    assert matrix.mu > 1e-9
    residuals = np.einsum("tnd,dt->tn", xs, matrix.models().values) - ys
    assert np.abs(residuals).max() < 1e-4


def test_the_smallest_gap_stays_certified_until_the_tasks_change() -> None:
    matrix, nodes = TaskMatrix(3, "nuclear", 2.0), {}
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        nodes[name] = make_task(random.standard_normal((9, 3)), random.standard_normal(9))
        matrix.join(name, nodes[name].profile())
    assert matrix.state().certified is None
    smallest = float("inf")
    for name in ["a", "b"] * 20 + ["b"] * 5:
        pull = matrix.pull(name)
        assert pull is not None
        correction, evidence = nodes[name].answer(pull, matrix.algorithm)
        # The last ones overshoot, so that the objective rises again.
        matrix.push(name, pull.sequence, correction + (smallest < 1e-4), evidence)
        state = matrix.state()
        if state.gap is not None:
            smallest = min(smallest, state.gap.relative)
            assert state.certified is not None
            assert state.certified.relative == smallest
    assert state.gap.relative > smallest
    matrix.leave("b")
    assert matrix.state().certified is None or matrix.state().certified.relative != smallest
