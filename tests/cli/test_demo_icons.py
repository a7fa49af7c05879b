"""`carls demo icons`: the collection, the maker, the plan, and the demo itself with real processes."""

from __future__ import annotations

import os
import pickle
import re
import zlib

import numpy as np
import pytest

import carls
from carls.cli.demo.comparison.plan import CASES, DRIFTS, EVERY_STEP, drift_case
from carls.cli.demo.icons.collection import VALIDATION, load
from carls.cli.demo.icons.encoder import Encoder
from carls.cli.demo.icons.plan import plan_of
from carls.cli.demo.icons.words import VOCABULARY, words_of
from carls.errors import CarlsError
from carls.service import BankProcess
from demo_runs import carls_demo, figures, is_png, refused


def write_icons(folder, **changed):
    """A collection of a few icons in `folder`, as CARLS_DATA."""
    n = 90
    draw = np.random.default_rng(0)
    arrays = {
        "images": draw.integers(0, 256, (n, 32, 32)).astype(np.uint8),
        "names": np.array([f"thing-{i}" for i in range(n)]),
        "tags": np.array([f"tag{i % 7}|kind-{i % 3}" for i in range(n)]),
        "split": np.repeat(np.array([0, 1, 2], np.int8), 30),
        "split_family": np.tile(np.array([0, 1, 2], np.int8), 30),
    } | changed
    (folder / "icons").mkdir()
    np.savez(folder / "icons" / "icons.npz", **arrays)
    return arrays


def test_short_demo_writes_tables_plot_and_figures_and_leaves_nothing_in_a_bank(tmp_path):
    write_icons(tmp_path, split=np.where(np.arange(90) < 70, 0, 2).astype(np.int8))
    with BankProcess() as server, carls.connect(server.url) as bank:
        arguments = ("--quick", "--json", "n.json", "--plot", "n.png", "--bank", server.url)
        done = carls_demo("icons", *arguments, cwd=tmp_path, CARLS_DATA=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert bank.tables() == []
    assert is_png(tmp_path / "n.png")
    document, results = figures(tmp_path / "n.json")
    assert document["name"] == "demo icons"
    assert document["config"]["split"] == "random"
    assert document["results"][0]["case"] == "carls"
    assert document["results"][0]["metric"] == "recall@1"
    assert {case for case, _ in results} == set(CASES)
    for case in CASES:
        within = [results[case, f"recall@{k}"]["value"] for k in (1, 5, 10)]
        assert within == sorted(within)
    for word in ("in-batch negatives", "recall@1", "recall@10", "staleness", "20 to find"):
        assert word in done.stdout
    pids = re.search(r"maker (\d+), trainer (\d+)", done.stdout).groups()
    assert len(set(pids)) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "even"], "--split even: expected random or family"),
        (["--positives", "old"], "--positives old: expected bank or fresh"),
        (["--seeds", 0], "--seeds 0: expected 1 or more"),
        (["--epochs", 0], "--epochs 0: expected 1 or more"),
        (["--plot", "plot.txt"], "plot.txt"),
        (["--bank", "memory://"], "memory://"),
        ([], "The collection of icons is not there: set CARLS_DATA"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tmp_path, arguments, message):
    assert message in refused("icons", *arguments, cwd=tmp_path)


# --- the collection ---


def test_the_parts_and_the_groups_are_those_of_the_file(tmp_path, monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (90, 32, 32)).astype(np.uint8)
    images[[3, 50]] = images[7]
    arrays = write_icons(tmp_path, images=images)
    monkeypatch.setenv("CARLS_DATA", str(tmp_path))
    icons, checked = load("family"), load("random", VALIDATION)
    assert icons.train.tolist() == list(range(0, 90, 3))
    assert icons.test.tolist() == list(range(2, 90, 3))
    assert checked.test.tolist() == list(range(30, 60))
    np.testing.assert_array_equal(np.round(icons.images[:, 0] * 255), arrays["images"])
    same = icons.groups[:, None] == icons.groups
    assert {tuple(pair) for pair in np.argwhere(same) if pair[0] < pair[1]} == {(3, 7), (3, 50), (7, 50)}
    bag = icons.words[4]
    assert bag[bag < VOCABULARY].tolist() == words_of("thing-4", "tag4|kind-1")


@pytest.mark.parametrize(
    "changed", [{"images": np.zeros((90, 16, 16), np.uint8)}, {"split": np.zeros(5, np.int8)}]
)
def test_a_file_of_something_else_is_refused(tmp_path, monkeypatch, changed):
    write_icons(tmp_path, **changed)
    monkeypatch.setenv("CARLS_DATA", str(tmp_path))
    with pytest.raises(CarlsError, match=r"icons.npz: images of shape .*expected \(n, 32, 32\) and n"):
        load("random")


def test_words_are_names_parts_tags_and_runs_of_letters():
    expected = ["name bell-off", "name bell", "name off", "alarm", "on-top", "on", "top"]
    for text in ("<bell>", "<off>", "<alarm>", "<on-top>"):
        expected += [f"letters {text[i]}{text[i + 1]}{text[i + 2]}" for i in range(len(text) - 2)]
    hashed = sorted({zlib.crc32(word.encode()) % VOCABULARY for word in expected})
    assert words_of("bell-off", "alarm|on-top") == hashed


def test_the_collection_is_what_the_page_says(data_folder):
    icons = load("random")
    assert [len(icons.images), len(icons.train), len(icons.test)] == [4855, 3892, 724]
    assert len(load("random", VALIDATION).test) == 239
    assert len(np.unique(icons.groups)) == 4825


# --- the maker ---


def test_the_maker_embeds_as_the_towers_do_and_travels_to_its_process(tmp_path, monkeypatch):
    import torch

    from carls.cli.demo.icons.towers import Towers

    write_icons(tmp_path, split=np.tile(np.array([2, 0, 0], np.int8), 30))
    monkeypatch.setenv("CARLS_DATA", str(tmp_path))
    icons = load("random")
    towers = Towers(word_dropout=0.5)
    tensors = {name: tensor.numpy() for name, tensor in towers.state_dict().items()}
    encoder = pickle.loads(pickle.dumps(Encoder(icons, threads=1)))
    keys = np.array([7, 1, 5])
    got = encoder.encode(carls.Model("towers", 1, 0, 0.0, "", tensors), carls.Keys.of(keys))
    expected = towers.eval()(torch.from_numpy(icons.words[keys]), torch.from_numpy(icons.images[keys]))
    for array, tensor in zip(got, expected, strict=True):
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-4, atol=1e-6)


# --- the plan ---


def test_the_full_plan_has_the_race_and_the_sweep_and_a_short_one_has_not():
    full = plan_of("random", 3, None, quick=False, positives="bank")
    cases = [job.case for job in full.jobs]
    assert {case: cases.count(case) for case in CASES} == dict.fromkeys(CASES, 3)
    assert cases.count(EVERY_STEP) == 1
    assert {cases.count(drift_case(drift)) for drift in DRIFTS} == {1}
    assert full.every_step.refresh_steps == 1
    assert full.every_step.epochs == full.carls.epochs  # the learning rate falls alike
    for short in (
        plan_of("random", 2, 5, quick=False, positives="bank"),
        plan_of("random", 3, None, quick=True, positives="bank"),
        plan_of("family", 3, None, quick=False, positives="bank"),
        plan_of("random", 3, None, quick=False, positives="fresh"),
    ):
        assert {job.case for job in short.jobs} == set(CASES)
    assert plan_of("random", 1, None, quick=False, positives="fresh").carls.positives == "fresh"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_icons_reach_the_goal(tmp_path, data_folder):
    assert carls_demo("icons", "--json", "n.json", cwd=tmp_path, timeout=900).returncode == 0
    _, results = figures(tmp_path / "n.json")
    assert results["carls", "recall@1"]["value"] >= 26
    assert results["carls", "recall@1"]["value"] >= results["baseline", "recall@1"]["value"] + 3
    assert {case for case, _ in results} >= {EVERY_STEP, *map(drift_case, DRIFTS)}
