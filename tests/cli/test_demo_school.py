"""`carls demo school`: the data, what is fitted to them, and the demo itself with real processes."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import explained_variance_score

import carls
from carls.cli.demo.school import fits
from carls.cli.demo.school.experiment import Outcome, Trial
from carls.cli.demo.school.node_process import Charge, NodeProcess
from carls.cli.demo.school.problem import Problem
from carls.cli.demo.school.pupils import Pupils, load
from carls.cli.demo.school.race import CARLS, GRADIENT, SYNCHRONOUS, WAYS, Race
from carls.cli.demo.school.recipe import QUICK
from carls.cli.demo.school.relations import relations
from carls.cli.demo.school.report import to_results, to_tables
from carls.errors import CarlsError
from carls.mtl import make_task
from carls.service import BankProcess
from demo_runs import carls_demo, figures, is_png, refused


def some_pupils(schools=5, seed=0):
    """Schools with 20 to 24 pupils of 4 features, whose models differ a little from a common one."""
    random = np.random.default_rng(seed)
    common = random.standard_normal(4)
    features = [random.standard_normal((20 + school, 4)) for school in range(schools)]
    models = [common + 0.3 * random.standard_normal(4) for _ in features]
    scores = [x @ model + random.standard_normal(len(x)) for x, model in zip(features, models, strict=True)]
    return Pupils(features, scores)


# --- the demo ---


def test_short_demo_writes_tables_plot_and_figures_and_leaves_nothing_in_a_bank(tmp_path, data_folder):
    with BankProcess() as server, carls.connect(server.url) as bank:
        arguments = ("--quick", "--json", "s.json", "--plot", "s.png", "--bank", server.url)
        done = carls_demo("school", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert bank.tables() == []
    assert is_png(tmp_path / "s.png")
    document, results = figures(tmp_path / "s.json")
    assert document["name"] == "demo school"
    assert document["results"][0]["case"] == "carls"
    assert document["results"][0]["metric"] == "explained variance"
    assert {"carls", "baseline", "synchronous", "pooled", GRADIENT} <= {case for case, _ in results}
    assert results["carls", "explained variance"]["against"] == "baseline"
    # The processes found what one place finds.
    assert results["carls", "distance in the end"]["value"] <= QUICK.goal
    assert results["synchronous", "distance in the end"]["value"] <= QUICK.goal
    one_place = results["synchronous", "explained variance"]["value"]
    assert results["carls", "explained variance"]["value"] == pytest.approx(one_place, abs=0.02)
    for word in ("explained", "pushes", "855 pupils of 8 schools", "each school alone"):
        assert word in done.stdout
    pids = re.search(r"schools 1 (\d+), schools 2 (\d+), watcher (\d+)", done.stdout).groups()
    assert len(set(pids)) == 3
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", 0], "--seeds 0: expected 1 or more"),
        (["--processes", 0], "--processes 0: expected 1 or more"),
        (["--processes", 140], "--processes 140: expected at most 139, one for each school"),
        (["--quick", "--processes", 9], "--processes 9: expected at most 8"),
        (["--delay", -1], "--delay -1.0: expected 0 to 5 seconds"),
        (["--delay", "nan"], "--delay nan: expected 0 to 5 seconds"),
        (["--plot", "plot.txt"], "plot.txt"),
        (["--json", "/proc/no/such.json"], "cannot write"),
        (["--bank", "memory://"], "memory://"),
        ([], "School is not there: set CARLS_DATA"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tmp_path, arguments, message):
    assert message in refused("school", *arguments, cwd=tmp_path)


# --- the data ---


def test_a_split_parts_each_schools_pupils_by_a_seed():
    pupils = some_pupils()
    train, held = pupils.split(3)
    assert [len(scores) for scores in train.scores] == [15, 16, 16, 17, 18]
    for school in range(5):
        both = np.vstack([train.features[school], held.features[school]])
        np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(pupils.features[school], axis=0))
        kept = [
            np.flatnonzero((pupils.features[school] == row).all(axis=1))[0] for row in train.features[school]
        ]
        np.testing.assert_array_equal(train.scores[school], pupils.scores[school][kept])
    again, other = pupils.split(3)[0], pupils.split(4)[0]
    np.testing.assert_array_equal(again.scores[0], train.scores[0])
    assert (other.scores[0] != train.scores[0]).any()


def test_explained_variance_is_scikit_learns():
    pupils = some_pupils()
    models = np.random.default_rng(1).standard_normal((4, 5))
    predicted = np.concatenate([x @ models[:, school] for school, x in enumerate(pupils.features)])
    expected = explained_variance_score(np.concatenate(pupils.scores), predicted)
    assert pupils.explained(models) == pytest.approx(expected)


def test_school_is_what_the_page_says(data_folder):
    pupils = load()
    assert (len(pupils.schools), pupils.count) == (139, 15_362)
    every = np.concatenate(pupils.features)
    assert (every.min(), every.max()) == (0, 1)
    assert (every[:, -1] == 1).all()


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.ones((3, 2)), "y": np.ones(2), "task": np.zeros(3, int)},
        {"x": np.full((3, 2), np.nan), "y": np.ones(3), "task": np.zeros(3, int)},
        {"x": np.ones((3, 2)), "y": np.full(3, np.inf), "task": np.zeros(3, int)},
        {"x": np.ones((3, 2)), "y": np.ones(3)},
    ],
)
def test_a_file_that_cannot_be_is_told(tmp_path, monkeypatch, arrays):
    (tmp_path / "school").mkdir()
    np.savez(tmp_path / "school" / "school.npz", **arrays)
    monkeypatch.setenv("CARLS_DATA", str(tmp_path))
    with pytest.raises(CarlsError, match=r"school\.npz.*replace it"):
        load()


# --- the fits ---


def test_fits_alone_and_pooled_are_ridge_regressions():
    train = some_pupils()
    alone, pooled = fits.alone(train, QUICK, 0), fits.pooled(train, QUICK, 0)
    for school, (x, y) in enumerate(zip(train.features, train.scores, strict=True)):
        # Ours is half the sum of squares and rho times all squares, scikit-learn's is not halved.
        own = Ridge(2 * alone.rho, fit_intercept=False).fit(x, y)
        np.testing.assert_allclose(alone.models[:, school], own.coef_, rtol=0.02, atol=0.01)
    one = Ridge(2 * pooled.rho, fit_intercept=False)
    one.fit(np.concatenate(train.features), np.concatenate(train.scores))
    np.testing.assert_allclose(pooled.models, np.tile(one.coef_[:, None], 5), rtol=0.02, atol=0.01)


def test_the_coupling_is_chosen_by_the_error_on_held_out_folds():
    found = fits.together(some_pupils(), QUICK, 0)
    assert sorted(fit.name for fit in found) == ["l21", "mean", "nuclear"]
    assert [fit.error for fit in found] == sorted(fit.error for fit in found)


def test_a_problem_knows_its_optimum():
    train = some_pupils()
    problem = Problem.of(train, "mean", 5.0)

    def objective(models):
        losses = [
            np.sum((x @ models[:, school] - y) ** 2) / 2
            for school, (x, y) in enumerate(zip(train.features, train.scores, strict=True))
        ]
        deviations = models - models.mean(axis=1, keepdims=True)
        return sum(losses) + 5.0 * (np.sum(deviations**2) + 0.01 * np.sum(models**2))

    zeros = np.zeros((4, 5))
    assert problem.distance(zeros) == pytest.approx(objective(zeros) / problem.optimum - 1)
    # The optimum of a quadratic function, by the normal equations of all models together.
    mean = np.eye(5) - np.ones((5, 5)) / 5
    system = np.kron(2 * 5.0 * (mean + 0.01 * np.eye(5)), np.eye(4))
    right = np.zeros(20)
    for school, (x, y) in enumerate(zip(train.features, train.scores, strict=True)):
        part = slice(4 * school, 4 * school + 4)
        system[part, part] += x.T @ x
        right[part] = x.T @ y
    best = np.linalg.solve(system, right).reshape(5, 4).T
    assert problem.optimum == pytest.approx(objective(best), rel=1e-6)
    assert problem.distance(best) == pytest.approx(0, abs=1e-6)


def test_relations_put_what_is_alike_together():
    random = np.random.default_rng(0)
    pupils = Pupils([random.standard_normal((500, 3)) * [1, 10, 0.1]], [np.zeros(500)])
    kinds = np.array([[1, 0, 0], [0, 0.1, 0]]).T[:, [0, 1, 0, 1, 0, 1]]
    models = 3 + kinds + 0.001 * random.standard_normal((3, 6))
    found = relations(models, pupils)
    assert sorted(found.order) == list(range(6))
    assert {frozenset(found.order[:3]), frozenset(found.order[3:])} == {
        frozenset({0, 2, 4}),
        frozenset({1, 3, 5}),
    }
    every = np.concatenate(pupils.features) @ (models - models.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(found.correlation, np.corrcoef(every[:, found.order].T), atol=1e-8)


# --- the nodes, and the report ---


def test_a_process_whose_nodes_fail_is_told():
    with BankProcess() as server, carls.connect(server.url) as bank:
        bank.embeddings("other", dim=4)
        schools = {"0": (np.ones((3, 4)), np.ones(3))}
        with (
            NodeProcess(Charge(server.url, "other", schools, 0.0, (0,))) as process,
            pytest.raises(CarlsError, match="other"),
        ):
            process.ready()


def test_a_node_that_ends_early_is_told():
    """Another node under the same name takes over: that is an error of the first one."""
    with BankProcess() as server, carls.connect(server.url) as bank:
        table = bank.tasks("schools", 4)
        x = np.random.default_rng(0).standard_normal((9, 4))
        with NodeProcess(Charge(server.url, "schools", {"0": (x, x[:, 0])}, 0.0, (0,))) as process:
            process.ready()
            process.go()
            deadline = time.monotonic() + 60
            while not table.state().updates and time.monotonic() < deadline:
                process.check(0.05)
            table.join("0", make_task(x, x[:, 0]).profile())
            table.pull("0")
            with pytest.raises(CarlsError, match=r"process \d+ with task nodes: .*another"):
                process.check(60.0)


def a_race(distances, goal=1e-2):
    looks = [(second, 10 * second, distance, 2 * distance) for second, distance in enumerate(distances, 1)]
    return Race(np.array(looks, float), np.zeros((4, 5)), goal, 3, 0.1, (1, 2))


def an_outcome(**distances):
    pupils = some_pupils()
    found = fits.together(pupils, QUICK, 0)
    races = {way: a_race(distances.get(way.split(",")[0], [1, 0.1, 0.001])) for way in WAYS}
    races[GRADIENT] = a_race([1, 0.9, 0.8])
    alone, pooled = fits.alone(pupils, QUICK, 0), fits.pooled(pupils, QUICK, 0)
    first = Trial(pupils, found, alone, pooled, races)
    second = replace(first, races={CARLS: a_race([1, 0.001, 0.001])})
    return Outcome(QUICK, [first, second])


def test_times_are_compared_on_the_same_splits_and_a_way_that_is_not_in_time_says_so():
    outcome = an_outcome(synchronous=[1, 0.5, 0.2, 0.1, 0.05, 0.001])
    results = {(result.case, result.metric): result for result in to_results(outcome)}
    ours = results[CARLS, "time to the objective"]
    assert (ours.value, ours.n, ours.against) == (2.5, 2, None)
    other = results[SYNCHRONOUS, "time to the objective"]
    assert (other.value, other.n, other.against, other.ratio) == (6, 1, CARLS, 2)
    assert (GRADIENT, "time to the objective") not in results
    assert results[GRADIENT, "distance in the end"].value == 0.8
    race_table = to_tables(outcome, "title")[1]
    assert "not in 3 s" in list(race_table.columns[1].cells)


def test_a_race_ends_where_the_goal_is_first_reached():
    race = a_race([1, 0.009, 0.02, 0.004])
    assert (race.near_s, race.certified_s) == (2, 4)
    assert race.last.updates == 40
    assert a_race([1, 0.5]).near_s is None
