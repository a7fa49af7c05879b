"""`carls demo noisy-labels`: the noise, the plan, and the demo itself with real processes and data."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import carls
from carls.cli.demo.comparison.plan import CASES, DRIFTS, EVERY_STEP, drift_case
from carls.cli.demo.fashion import load
from carls.cli.demo.noisy.maker import Examples
from carls.cli.demo.noisy.plan import plan_of
from carls.cli.demo.noisy.problem import asymmetric, noisy, symmetric
from carls.service import BankProcess
from demo_runs import carls_demo, figures, is_png, refused


def test_short_demo_writes_tables_plot_and_figures_and_leaves_nothing_in_a_bank(tmp_path, data_folder):
    with BankProcess() as server, carls.connect(server.url) as bank:
        arguments = ("--quick", "--epochs", 1, "--json", "n.json", "--plot", "n.png", "--bank", server.url)
        done = carls_demo("noisy-labels", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert bank.tables() == []
    assert is_png(tmp_path / "n.png")
    document, results = figures(tmp_path / "n.json")
    assert document["name"] == "demo noisy-labels"
    assert document["results"][0]["case"] == "carls"
    assert document["results"][0]["metric"] == "accuracy"
    assert {case for case, _ in results} == set(CASES)
    assert results["carls", "accuracy"]["value"] > 50
    assert results["carls", "accuracy"]["against"] == "baseline"
    for word in ("cross entropy", "accuracy", "staleness", "40 % of the labels wrong"):
        assert word in done.stdout
    pids = re.search(r"maker (\d+), trainer (\d+)", done.stdout).groups()
    assert len(set(pids)) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--noise", "pink"], "--noise pink: expected symmetric or asymmetric"),
        (["--seeds", 0], "--seeds 0: expected 1 or more"),
        (["--epochs", 0], "--epochs 0: expected 1 or more"),
        (["--plot", "plot.txt"], "plot.txt"),
        (["--bank", "memory://"], "memory://"),
        ([], "Fashion-MNIST is not there: set CARLS_DATA"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tmp_path, arguments, message):
    assert message in refused("noisy-labels", *arguments, cwd=tmp_path)


# --- the noise ---


def test_symmetric_noise_takes_a_share_of_each_class_evenly_to_the_others():
    true = np.repeat(np.arange(10), 20_000)
    given = symmetric(true, seed=3)
    counts = np.zeros((10, 10))
    np.add.at(counts, (true, given), 1 / 20_000)
    expected = np.where(np.eye(10), 0.6, 0.4 / 9)
    np.testing.assert_allclose(counts, expected, atol=0.02)
    np.testing.assert_array_equal(given, symmetric(true, seed=3))
    assert (given != symmetric(true, seed=4)).any()


def test_asymmetric_noise_confuses_what_looks_alike():
    true = np.repeat(np.arange(10), 20_000)
    given = asymmetric(true, seed=3)
    counts = np.zeros((10, 10))
    np.add.at(counts, (true, given), 1 / 20_000)
    expected = np.eye(10)
    for label, other in ((9, 7), (7, 5), (2, 6), (3, 4), (4, 3)):
        expected[label, label], expected[label, other] = 0.6, 0.4
    np.testing.assert_allclose(counts, expected, atol=0.02)


def test_the_names_of_confused_classes_are_what_the_page_says(data_folder):
    with np.load(data_folder / "fashion_mnist" / "fashion_mnist_30k.npz", allow_pickle=False) as file:
        names = [name.lower() for name in file["class_names"]]
    for label, part in ((9, "boot"), (7, "sneaker"), (5, "sandal"), (2, "pullover"), (6, "shirt")):
        assert part in names[label]
    assert "dress" in names[3]
    assert "coat" in names[4]


def test_the_problem_keeps_its_test_labels_right(data_folder):
    data = load()
    problem = noisy(data, seed=1, noise="symmetric")
    np.testing.assert_array_equal(problem.test_labels, data.test_labels)
    np.testing.assert_array_equal(problem.features, data.train[:10_000])
    assert problem.wrong == (problem.given != data.train_labels[:10_000]).mean()
    assert problem.wrong == pytest.approx(0.4, abs=0.02)


def test_the_maker_predicts_what_the_network_does():
    import torch

    from carls.cli.demo.model import Perceptron

    network = Perceptron(5, 4, 3, dropout=0.0)
    x = np.random.default_rng(0).random((6, 5), np.float32)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    examples = Examples(x, np.arange(6) % 3, threads=1)
    keys = carls.Keys.of([4, 0])
    got = examples.predict(carls.Model("net", 1, 0, 0.0, "", tensors), keys)
    expected = torch.softmax(network(torch.from_numpy(x[[4, 0]])), dim=1).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert examples.labels(keys).tolist() == [1, 0]


# --- the plan ---


def test_the_full_plan_has_the_race_and_the_sweep_and_a_short_one_has_not():
    full = plan_of("symmetric", 3, None, quick=False)
    cases = [job.case for job in full.jobs]
    assert {case: cases.count(case) for case in CASES} == dict.fromkeys(CASES, 3)
    assert cases.count(EVERY_STEP) == 1
    assert {cases.count(drift_case(drift)) for drift in DRIFTS} == {1}
    assert full.every_step.refresh_steps == 1
    assert full.every_step.decay**full.carls.refresh_steps == pytest.approx(full.carls.decay)
    for short in (plan_of("symmetric", 2, 5, quick=False), plan_of("symmetric", 3, None, quick=True)):
        assert {job.case for job in short.jobs} == set(CASES)
    assert EVERY_STEP not in {job.case for job in plan_of("asymmetric", 3, None, quick=False).jobs}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_noisy_labels_reach_the_goal(tmp_path, data_folder):
    assert carls_demo("noisy-labels", "--json", "n.json", cwd=tmp_path, timeout=900).returncode == 0
    _, results = figures(tmp_path / "n.json")
    assert results["carls", "accuracy"]["value"] >= 83
    assert results["carls", "accuracy"]["value"] >= results["baseline", "accuracy"]["value"] + 4
    assert {case for case, _ in results} >= {EVERY_STEP, *map(drift_case, DRIFTS)}
