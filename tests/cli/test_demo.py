"""`carls demo` as its users run it: real processes, real data."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import carls
from carls.cli.demo.app import app
from carls.cli.demo.comparison.plan import CASES, DRIFTS, EVERY_STEP, Way, drift_case
from carls.cli.demo.graphs.command import PROGRAM
from carls.cli.demo.graphs.digits import digits
from carls.cli.demo.graphs.graph import linked_neighbours, nearest_neighbours
from carls.cli.demo.graphs.knowledge import GraphKnowledge
from carls.cli.demo.graphs.maker import Vertices
from carls.cli.demo.graphs.paradigm import Digits
from carls.cli.demo.graphs.plan import plan_of
from carls.cli.demo.graphs.recipe import CHOSEN
from carls.cli.demo.model import Perceptron
from carls.errors import CarlsError
from carls.graphs import neighbour_columns
from carls.service import BankProcess
from demo_runs import carls_demo, figures, is_png


def test_short_demo_writes_table_plot_figures_and_program(tmp_path):
    done = carls_demo("digits", "--quick", "--json", "out/d.json", "--plot", "out/d.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert is_png(tmp_path / "out" / "d.png")
    document, results = figures(tmp_path / "out" / "d.json")
    assert document["results"][0]["case"] == "carls"
    assert document["results"][0]["metric"] == "accuracy"
    assert {case for case, _ in results} == {"carls", "baseline", "synchronous"}
    assert results["carls", "accuracy"]["value"] > 50
    assert results["carls", "accuracy"]["against"] == "baseline"
    assert results["carls", "rows left out"]["value"] == 0
    for word in ("accuracy", "staleness", "without neighbours", "VertexEmbeddingMaker(vertices, embed)"):
        assert word in done.stdout
    pids = re.search(r"bank (\d+), maker (\d+), trainer (\d+)", done.stdout).groups()
    assert len(set(pids)) == 3
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_cora_demo_runs_the_same_cases_and_cleans_up_a_bank_that_is_not_its_own(tmp_path, data_folder):
    with BankProcess() as server, carls.connect(server.url) as bank:
        arguments = (
            "--split",
            "planetoid",
            "--seeds",
            1,
            "--steps",
            5,
            "--json",
            "c.json",
            "--bank",
            server.url,
        )
        done = carls_demo("cora", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert bank.tables() == []
    assert is_png(tmp_path / "carls-cora.png")
    _, results = figures(tmp_path / "c.json")
    assert {case for case, _ in results} == {"carls", "baseline", "synchronous"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--labels", 0], "--labels 0: expected 1 to 1200"),
        (["digits", "--labels", 1201], "--labels 1201"),
        (["digits", "--seeds", 0], "--seeds 0: expected 1 or more"),
        (["digits", "--steps", -3], "--steps -3"),
        (["digits", "--neighbours", "links"], "--neighbours links: expected pixels or learned"),
        (["cora", "--split", "random"], "--split random: expected nsl or planetoid"),
        (["cora", "--neighbours", "pixels"], "--neighbours pixels: expected links or pagerank"),
        (["digits", "--plot", "/proc/nobody/plot.png"], "/proc/nobody/plot.png"),
        (["digits", "--json", "."], "cannot write ."),
        (["digits", "--bank", "http://somewhere"], "http://somewhere"),
        (["digits", "--bank", "memory://"], "memory://"),
        (["digits", "--plot", "plot.txt"], "plot.txt"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tmp_path, arguments, message):
    done = carls_demo(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_a_bank_that_does_not_answer_is_one_line(tmp_path):
    done = carls_demo("digits", "--bank", "grpc://127.0.0.1:1", cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "127.0.0.1:1" in done.stderr


def test_without_the_extra_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["digits"])
    assert isinstance(result.exception, CarlsError)
    assert "torch, sklearn, matplotlib: install with pip install 'carls[demo]'" in str(result.exception)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_interrupt_leaves_no_process_behind(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "carls", "demo", "digits", "--seeds", "20"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while len(children_of(demo.pid)) < 2:
            assert time.monotonic() < deadline, "bank and maker did not start"
            time.sleep(0.02)
        started = children_of(demo.pid)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
        assert demo.returncode != 0
        while any(os.path.exists(f"/proc/{pid}") for pid in started):
            assert time.monotonic() < deadline, "a process was left behind"
            time.sleep(0.02)
    finally:
        demo.kill()
        demo.wait()


def test_digits_problem_keeps_test_images_outside_the_graph():
    problem = digits(seed=3, labels=50)
    assert problem.features.shape == (1297, 64)
    assert len(problem.test_labels) == 500
    assert np.bincount(problem.labels[problem.labelled]).tolist() == [5] * 10
    assert len(set(problem.labelled.tolist())) == 50
    assert set(np.diff(problem.neighbours.offsets)) == {5}
    again, other = digits(seed=3, labels=50), digits(seed=4, labels=50)
    np.testing.assert_array_equal(problem.labelled, again.labelled)
    assert problem.labelled.tolist() != other.labelled.tolist()
    np.testing.assert_array_equal(problem.test_features, other.test_features)


@pytest.mark.parametrize("labels", [1, 7, 13, 1200])
def test_label_counts_differ_by_one_at_most(labels):
    problem = digits(seed=0, labels=labels)
    counts = np.bincount(problem.labels[problem.labelled], minlength=10)
    assert counts.sum() == labels
    assert counts.max() - counts.min() <= 1


def test_nearest_neighbours_and_their_weights_equal_a_loop():
    points = np.random.default_rng(0).random((30, 4), np.float32)
    distances = np.array([[np.linalg.norm(a - b) for b in points] for a in points])
    radii = np.sort(distances, axis=1)[:, 5]  # the nearest of all is the point itself
    np.fill_diagonal(distances, np.inf)
    lists = nearest_neighbours(points)
    assert np.diff(lists.offsets).tolist() == [5] * 30
    for i in range(30):
        near, weights = lists.neighbours.integers[5 * i : 5 * i + 5], lists.weights[5 * i : 5 * i + 5]
        assert near.tolist() == np.argsort(distances[i])[:5].tolist()
        expected = [np.exp(-2 * distances[i, j] ** 2 / (radii[i] * radii[j])) for j in near]
        np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_points_in_the_same_place_have_finite_weights():
    assert np.isfinite(nearest_neighbours(np.zeros((8, 2), np.float32)).weights).all()


def test_linked_neighbours_are_drawn_from_the_links():
    star = np.array([[0, other] for other in range(1, 9)] + [[1, 2]])
    drawn = linked_neighbours(star, 10, seed=0)
    lists = np.split(drawn.neighbours.integers, drawn.offsets[1:-1])
    assert len(set(lists[0].tolist())) == 5
    assert set(lists[0].tolist()) <= set(range(1, 9))
    assert sorted(lists[1].tolist()) == [0, 2]
    assert lists[9].tolist() == []
    again, other = linked_neighbours(star, 10, seed=0), linked_neighbours(star, 10, seed=1)
    assert drawn.neighbours == again.neighbours != other.neighbours


def test_the_maker_writes_what_the_network_says_sharpened_and_anchored():
    import torch

    network = Perceptron(5, 4, 3, dropout=0.0)
    x = np.random.default_rng(0).random((6, 5), np.float32)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    checkpoint, keys = carls.Model("net", 1, 0, 0.0, "", tensors), carls.Keys.of([4, 0, 1])
    vertices = Vertices(x, np.array([-1, 2, -1, -1, -1, -1]), temperature=0.5, threads=1)
    squares = torch.softmax(network(torch.from_numpy(x[[4, 0]])), dim=1).square()
    expected = (squares / squares.sum(dim=1, keepdim=True)).detach().numpy()
    np.testing.assert_allclose(vertices.outputs(checkpoint, keys), [*expected, [0, 0, 1]], rtol=1e-5)
    hidden = torch.relu(network.hidden(torch.from_numpy(x[[4, 0, 1]]))).detach().numpy()
    np.testing.assert_allclose(vertices.hidden(checkpoint, keys), hidden, rtol=1e-5)


def test_the_full_plan_has_the_race_and_the_sweep_and_a_short_one_has_not():
    full = plan_of(CHOSEN["cora, nsl"], 2, None, quick=False)
    cases = [job.case for job in full.jobs]
    assert {cases.count(case) for case in (*CASES, EVERY_STEP, *map(drift_case, DRIFTS))} == {2}
    assert full.every_step.refresh_steps == 1
    cora = CHOSEN["cora, nsl"]
    for short in (
        plan_of(cora, 2, 5, False),
        plan_of(cora, 2, None, True),
        plan_of(CHOSEN["digits"], 2, None, False),
    ):
        assert {job.case for job in short.jobs} == set(CASES)


@pytest.mark.parametrize("way", [Way.BANK, Way.INSIDE])
def test_the_learned_graph_is_read_while_it_changes(way):
    problem = digits(seed=0)
    recipe = replace(CHOSEN["digits"].with_graph, steps=6, refresh_steps=2, learned_share=0.5)
    with BankProcess() as server, carls.connect(server.url) as bank:
        with closing(GraphKnowledge(way, bank, "t", problem, replace(recipe, drift_checkpoints=0))) as known:
            Digits(50).train(problem, recipe, 0, known, lambda: None)
            rows = bank.features("t.graph", neighbour_columns(), keys="int64").lookup(problem.keys)
            assert rows.found.all()
            # The first checkpoint meets no embeddings yet and writes the given graph.
            assert rows["neighbours"].lengths.min() >= 5
            assert rows["neighbours"].lengths.mean() > 5
            assert rows["neighbours"].lengths.max() <= 10
            assert known.regularizer.last_read.masked == 0
        assert bank.tables() == []


def test_who_refreshes_at_every_step_compares_with_rows_of_that_step():
    read = []
    recipe = replace(CHOSEN["digits"].every_step, steps=6)
    with carls.connect() as bank, closing(GraphKnowledge(Way.INSIDE, bank, "t", digits(0), recipe)) as known:
        told = known.regularizer.register_forward_hook(lambda *_: read.append(known.regularizer.last_read))
        Digits(50).train(digits(0), recipe, 0, known, lambda: None)
        told.remove()
    assert len(read) == recipe.steps
    for one in read:
        assert one.masked == 0
        assert len(one.staleness) > 0
        assert not one.staleness.any()


def test_the_shown_program_works_as_pasted(tmp_path):
    pasted = tmp_path / "pasted.py"
    pasted.write_text(PROGRAM.read_text())
    done = subprocess.run([sys.executable, pasted], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert float(re.match(r"([\d.]+)% of 500", done.stdout)[1]) > 70


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_digits_reach_the_goal(tmp_path):
    assert carls_demo("digits", "--json", "d.json", cwd=tmp_path, timeout=900).returncode == 0
    _, results = figures(tmp_path / "d.json")
    assert results["carls", "accuracy"]["value"] >= 91.0
    assert results["carls", "accuracy"]["value"] >= results["baseline", "accuracy"]["value"] + 4


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("split", "goal", "more"), [("nsl", 88.0, 6), ("planetoid", 73.0, 12)])
def test_cora_reaches_the_goal(tmp_path, data_folder, split, goal, more):
    assert carls_demo("cora", "--split", split, "--json", "c.json", cwd=tmp_path, timeout=900).returncode == 0
    _, results = figures(tmp_path / "c.json")
    assert results["carls", "accuracy"]["value"] >= goal
    assert results["carls", "accuracy"]["value"] >= results["baseline", "accuracy"]["value"] + more
    assert {case for case, _ in results} >= {EVERY_STEP, *map(drift_case, DRIFTS)}


def children_of(pid):
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.add(int(stat.parent.name))
    return found
