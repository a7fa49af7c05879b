"""The comparison that demos with makers share: its plan, its record of runs, its figures."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from carls.cli.demo.comparison.experiment import Outcome
from carls.cli.demo.comparison.plan import CASES, DRIFTS, EVERY_STEP, Plan, Recipe, Way, drift_case
from carls.cli.demo.comparison.plot import write_plot
from carls.cli.demo.comparison.recorder import Recorder
from carls.cli.demo.comparison.report import to_results, to_tables
from carls.cli.demo.comparison.run import Run

PLAN = Plan(
    carls=Recipe(refresh_steps=10),
    baseline=Recipe(refresh_steps=1000),
    synchronous=Recipe(refresh_steps=20),
    seeds=2,
    goal=83.0,
    every_step=Recipe(refresh_steps=1),
    sweep_seeds=1,
)


def run_of(*scores, staleness=(3, 5)):
    curve = np.array([(78 * i, 0.5 * i, score) for i, score in enumerate(scores, start=1)])
    return Run(curve, np.array(staleness, np.int64), 0.0, 0.0)


def full_outcome():
    return Outcome(PLAN, {job.case: [run_of(70, 84)] * (2 if job.case in CASES else 1) for job in PLAN.jobs})


def test_each_case_has_its_turn_for_each_seed_with_a_recipe_of_its_own():
    jobs = PLAN.jobs
    assert [(job.case, job.seed) for job in jobs[:6]] == [(case, seed) for seed in (0, 1) for case in CASES]
    assert [job.way for job in jobs[:3]] == [Way.BANK, Way.NONE, Way.INSIDE]
    assert [job.recipe.refresh_steps for job in jobs[:3]] == [10, 1000, 20]
    assert (jobs[6].case, jobs[6].way, jobs[6].recipe.refresh_steps) == (EVERY_STEP, Way.INSIDE, 1)
    swept = {job.case: job.recipe for job in jobs[7:]}
    assert {case: recipe.drift_checkpoints for case, recipe in swept.items()} == {
        drift_case(drift): drift for drift in DRIFTS
    }
    assert {recipe.refresh_steps for recipe in swept.values()} == {10}


def test_time_to_a_goal_is_that_of_the_first_test_that_reached_it():
    run = run_of(70, 83.5, 82, 84)
    assert run.seconds_to(83) == 1.0
    assert run.seconds_to(84) == 2.0
    assert run.seconds_to(90) == float("inf")
    assert run.score == 84
    assert run.steps_per_s == 156


def test_a_recorder_tests_copies_of_the_model_in_the_end_and_leaves_it_as_it_was():
    model = torch.nn.Linear(1, 1, bias=False)
    recorder = Recorder(model, steps=5, test_steps=2)
    slept = 0.0
    for step in range(5):
        with recorder.step(step):
            with torch.no_grad():
                model.weight.fill_(step + 1)
            began = time.perf_counter()
            sum(range(20_000))
            slept += time.perf_counter() - began
        recorder.read(np.array([step]), step / 10)
    run = recorder.finish(lambda: model.weight.item(), waited_s=0.5)
    assert run.curve[:, 0].tolist() == [2, 4, 5]
    assert run.curve[:, 2].tolist() == [2, 4, 5]
    assert run.curve[-1, 1] >= slept
    assert (np.diff(run.curve[:, 1]) > 0).all()
    assert run.staleness.tolist() == [0, 1, 2, 3, 4]
    assert run.left_out == pytest.approx(0.2)
    assert run.waited_s == 0.5
    assert model.weight.item() == 5


def test_a_goal_that_was_never_reached_leaves_no_infinity_in_the_figures():
    outcome = full_outcome()
    outcome.runs["baseline"] = [run_of(70, 71, staleness=())] * 2
    outcome.runs[EVERY_STEP] = [run_of(70, 71)]
    results = to_results(outcome, "accuracy")
    assert (results[0].case, results[0].metric) == ("carls", "accuracy")
    assert all(np.isfinite(result.value) for result in results)
    assert all(result.ratio is None or np.isfinite(result.ratio) for result in results)
    reached = [result.case for result in results if result.metric.startswith("time to")]
    assert reached == ["carls", "synchronous"]
    told = {(result.case, result.metric): result for result in results}
    assert told["carls", "accuracy"].ratio == pytest.approx(84 / 71)
    assert told["carls", "staleness, median"].value == 4
    assert told["carls", "staleness, median"].against is None
    assert ("baseline", "staleness, median") not in told
    assert told["carls, drift limit 4", "accuracy"].against == "carls, drift limit 0"


def test_tables_and_plot_are_made_of_full_and_of_short_plans(tmp_path):
    full = full_outcome()
    assert len(to_tables(full, "title", "accuracy", "nothing")) == 3
    short = Outcome(
        Plan(carls=PLAN.carls, baseline=PLAN.baseline, synchronous=PLAN.synchronous, seeds=1),
        {case: [run_of(70, 84)] for case in CASES},
    )
    assert len(to_tables(short, "title", "accuracy", "nothing")) == 1
    for name, outcome in (("full.png", full), ("short.svg", short)):
        write_plot(tmp_path / name, outcome, "title", "accuracy")
        assert (tmp_path / name).stat().st_size > 1000
