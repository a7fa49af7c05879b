from __future__ import annotations

import math

import numpy as np
import pytest

from carls.errors import InvalidSpecError
from carls.makers import EveryCheckpoint, Interval, Stretching
from carls.makers.intervals import relative_change


def model(*values, dtype=np.float32):
    return {"w": np.array(values, dtype)}


def test_without_an_interval_every_checkpoint_is_due():
    assert EveryCheckpoint().after(1, model(1.0), model(1.0)) == 1


def test_an_interval_grows_while_the_model_rests_and_shrinks_when_it_moves():
    interval, at, steps = Stretching(change=0.1, factor=3, longest=20), 1, []
    for moved in (0.0, 0.05, 0.09, 0.09, 0.2, 0.11, 0.5, 0.5, 0.0):
        at = interval.after(at, model(10.0), model(10.0 * (1 + moved)))
        steps.append(at)
    assert steps == [3, 9, 20, 20, 6, 2, 1, 1, 3]


def test_even_a_small_factor_grows():
    interval, at = Stretching(factor=1.1), 1
    for _ in range(5):
        at = interval.after(at, model(1.0), model(1.0))
    assert at == 6


def test_settling_makes_work_about_once_for_each_change():
    # A model that goes 1 % a step, then 0.01 %: passes follow at about 5 % and no more than that by a factor.
    interval, at = Stretching(change=0.05, factor=2, longest=10_000), 1
    for rate, expected in ((0.01, 5), (0.0001, 500)):
        steps = []
        for _ in range(40):
            at = interval.after(at, model(1.0), model((1 + rate) ** at))
            steps.append(at)
        assert expected / 2 <= np.median(steps[20:]) <= 2 * expected


def test_the_change_is_that_of_all_floating_point_tensors_together():
    rng = np.random.default_rng(0)
    before = {
        "a": rng.standard_normal((3, 4)),
        "b": rng.standard_normal(5).astype(np.float32),
        "n": np.arange(3),
    }
    now = {"a": before["a"] + 0.1, "b": before["b"] * 1.5, "n": np.arange(3) + 100}
    flat = [np.concatenate([np.ravel(it[name]).astype(np.float64) for name in "ab"]) for it in (before, now)]
    expected = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    assert relative_change(before, now) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "now",
    [
        {"v": np.ones(2, np.float32)},
        {"w": np.ones(3, np.float32)},
        {"w": np.ones(2, np.float32), "v": np.ones(1)},
        model(1.0, math.nan),
        model(1.0, math.inf),
    ],
)
def test_what_cannot_be_compared_is_a_change(now):
    assert relative_change(model(1.0, 1.0), now) == math.inf
    assert Stretching().after(64, model(1.0, 1.0), now) == 32


def test_models_of_zeros():
    assert relative_change(model(0.0), model(0.0)) == 0.0
    assert relative_change(model(0.0), model(1.0)) == math.inf


def test_an_interval_is_given_by_object_name_or_json():
    assert Interval.of("none") == EveryCheckpoint()
    assert Interval.of("stretching") == Stretching()
    chosen = Stretching(change=0.2, longest=7)
    assert Interval.of(chosen.to_json()) == chosen == Interval.of(chosen)


@pytest.mark.parametrize("value", ["often", None, 3, {"name": "stretching", "steps": 1}])
def test_unknown_intervals_are_refused(value):
    with pytest.raises(InvalidSpecError, match="interval"):
        Interval.of(value)


@pytest.mark.parametrize(
    "arguments", [{"change": 0}, {"factor": 1}, {"longest": 0}, {"longest": 1.5}, {"change": "small"}]
)
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(InvalidSpecError, match=next(iter(arguments))):
        Stretching(**arguments)
