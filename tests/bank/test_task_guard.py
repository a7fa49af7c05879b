"""TaskGuard: steps that diverge are shortened, and lengthened again once epochs go well."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carls.bank.task_guard import LEAST, PATIENCE, TaskGuard
from carls.bank.task_matrix import TaskMatrix
from carls.mtl import DouglasRachford, Simulation, make_task

ALGORITHM = DouglasRachford()


def judged(guard: TaskGuard, *squares: float, rounding: float = 0.0) -> float:
    for square in squares:
        guard.judge(ALGORITHM, square, rounding)
    return guard.factor


def test_steps_are_halved_where_corrections_grow_beyond_four_times_their_best() -> None:
    guard = TaskGuard()
    assert judged(guard, 1.0, 0.5, 1.9) == 1.0
    assert judged(guard, 2.1) == 0.5
    assert judged(guard, 9.0) == 0.25


def test_they_are_doubled_after_epochs_that_go_well_ever_later() -> None:
    guard = TaskGuard()
    judged(guard, 1.0, 5.0, 5.0)
    assert judged(guard, *[1.0] * (PATIENCE - 1)) == 0.25
    assert judged(guard, 1.0) == 0.5
    assert judged(guard, *[1.0] * (2 * PATIENCE - 1)) == 0.5
    assert judged(guard, 1.0) == 1.0
    assert judged(guard, *[1.0] * 100) == 1.0
    judged(guard, 5.0)
    assert judged(guard, *[1.0] * (4 * PATIENCE - 1)) == 0.5
    assert judged(guard, 1.0) == 1.0


def test_an_epoch_that_diverges_begins_the_count_anew() -> None:
    guard = TaskGuard()
    judged(guard, 1.0, 5.0, *[1.0] * (PATIENCE - 1))
    assert judged(guard, 5.0, *[1.0] * (PATIENCE - 1)) == 0.25
    assert judged(guard, 1.0) == 0.5


def test_what_rounding_leaves_does_not_diverge() -> None:
    assert judged(TaskGuard(), 1.0, 1e-30, 3e-24, rounding=1e-24) == 1.0
    assert judged(TaskGuard(), 1.0, 1e-30, 5e-24, rounding=1e-24) == 0.5


def test_corrections_for_another_mu_are_no_measure() -> None:
    guard = TaskGuard()
    judged(guard, 1.0)
    guard.scale_changed()
    assert judged(guard, 100.0) == 1.0


@given(st.lists(st.floats(0, 1e300), max_size=300))
def test_the_factor_stays_within_bounds(squares: list[float]) -> None:
    assert LEAST <= judged(TaskGuard(), *squares) <= 1.0


def random_nodes(count: int) -> dict[str, object]:
    random = np.random.default_rng(0)
    model = random.standard_normal(5)
    features = [random.standard_normal((20, 5)) for _ in range(count)]
    return {f"t{i}": make_task(x, x @ model + random.standard_normal(20)) for i, x in enumerate(features)}


def run_of(nodes: dict[str, object], pace) -> Simulation:  # type: ignore[no-untyped-def]
    return Simulation(nodes, lambda clock: TaskMatrix(5, "nuclear", 10.0, clock=clock), pace)  # type: ignore[arg-type]


def test_nodes_that_go_on_at_the_optimum_do_not_shorten_their_steps() -> None:
    random = np.random.default_rng(1)
    run = run_of(random_nodes(6), lambda task: 0.02 + random.exponential())
    for pushes, _ in enumerate(run.pushes()):
        if pushes == 6000:  # hundreds of epochs after all that float64 can tell
            break
    state = run.matrix.state()
    assert state.gap.relative < 1e-12  # type: ignore[union-attr]
    assert state.guard == 1.0


def test_one_late_answer_is_forgotten() -> None:
    late = iter([500.0])
    run = run_of(random_nodes(4), lambda task: next(late, 1.0) if task == "t0" else 1.0)
    longest = []
    for pushes, _ in enumerate(run.pushes()):
        longest.append(run.matrix.state().longest_delay)
        if pushes == 2500:
            break
    assert max(longest) >= 1000
    assert longest[-1] <= 4
