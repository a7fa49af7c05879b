"""`carls demo dynamic-normalization` as its users run it, and its data."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from carls.cli.demo.fashion import Fashion, foreign, load
from carls.cli.demo.normalization.experiment import CASES
from carls.errors import CarlsError
from carls.service import BankProcess
from demo_runs import carls_demo, figures, is_png


def test_short_demo_writes_tables_plot_and_figures(tmp_path, data_folder):
    with BankProcess() as server, carls.connect(server.url) as bank:
        files = ("--json", "n.json", "--plot", "n.png")
        done = carls_demo(
            "dynamic-normalization", "--seeds", 1, "--steps", 120, *files, "--bank", server.url, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert bank.tables() == []  # it is one that others may use
    assert is_png(tmp_path / "n.png")
    document, results = figures(tmp_path / "n.json")
    assert document["name"] == "demo dynamic-normalization"
    assert document["results"][0]["case"] == "carls"
    assert document["results"][0]["metric"] == "accuracy"
    assert {case for case, _ in results} == set(CASES)
    for case in CASES:
        assert results[case, "accuracy"]["value"] > 50
        for kind in ("noise", "rotated", "digits"):
            assert 0 <= results[case, f"AUROC of max softmax, {kind}"]["value"] <= 1
    assert 0 <= results["carls", "AUROC of distance, noise"]["value"] <= 1
    assert results["carls", "accuracy"]["against"] == "batch norm"
    for word in ("test accuracy", "AUROC", "layer norm", "rotated", "distance"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", 0], "--seeds 0: expected 1 or more"),
        (["--steps", 0], "--steps 0: expected 1 or more"),
        (["--plot", "plot.txt"], "plot.txt"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tmp_path, arguments, message):
    done = carls_demo("dynamic-normalization", *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_without_the_data_the_remedy_is_named(tmp_path):
    done = carls_demo(
        "dynamic-normalization", cwd=tmp_path, CARLS_DATA=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)
    )
    assert done.returncode != 0
    assert "fashion_mnist_30k.npz" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CARLS_DATA", str(tmp_path))
    (tmp_path / "fashion_mnist").mkdir()
    (tmp_path / "fashion_mnist" / "fashion_mnist_30k.npz").write_bytes(b"no archive")
    with pytest.raises(CarlsError, match="cannot be read"):
        load()


def test_images_are_rows_of_grey_values(data_folder):
    data = load()
    assert (data.train.shape, data.test.shape) == ((20_000, 784), (10_000, 784))
    assert data.train.dtype == np.float32
    assert (data.train.min(), data.train.max()) == (0, 1)
    assert sorted(set(data.test_labels.tolist())) == list(range(10))


def test_validation_takes_nothing_from_the_test_part():
    rows = np.arange(50, dtype=np.float32)[:, None]
    data = Fashion(rows, np.arange(50), rows - 1000, np.arange(50))
    carved = data.validation(seed=1)
    assert (len(carved.train), len(carved.test)) == (40, 10)
    assert sorted(np.concatenate([carved.train, carved.test])[:, 0].tolist()) == rows[:, 0].tolist()
    np.testing.assert_array_equal(carved.test[:, 0], carved.test_labels)


def test_foreign_images_are_what_they_are_called():
    clothes = np.random.default_rng(0).random((3, 784), np.float32)
    found = foreign(clothes)
    assert found["noise"].std() > 0.25
    np.testing.assert_array_equal(found["rotated"][1].reshape(28, 28), np.rot90(clothes[1].reshape(28, 28)))
    digits = found["digits"].reshape(-1, 28, 28)
    assert len(digits) == 1797
    from sklearn.datasets import load_digits

    # The corners of the grid stay where they are.
    np.testing.assert_allclose(digits[:, ::27, ::27] * 16, load_digits().images[:, ::7, ::7], atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_in_full(tmp_path, data_folder):
    done = carls_demo("dynamic-normalization", "--json", "n.json", cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    _, results = figures(tmp_path / "n.json")
    assert results["carls", "accuracy"]["value"] > 80
