"""The benchmark of the optimizers runs and writes what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scattered import Scattered

ROOT = Path(__file__).parents[2]
OPTIMIZERS = ["sgd", "momentum", "adagrad", "rowwise_adagrad", "adam", "ftrl"]


def test_every_optimizer_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "optimizers.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.optimizers", "--quick", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["name"] == "benchmark optimizers"
    assert found["config"]["dim"] == 64
    medians = {one["case"]: one["value"] for one in found["results"] if one["metric"] == "median call"}
    for name in OPTIMIZERS:
        assert name in done.stdout
        assert medians[name] > 0
    for one in found["results"]:
        if one["against"] is not None:
            assert one["ratio"] == pytest.approx(medians[one["against"]] / medians[one["case"]])
    compared = {(one["case"], one["against"]) for one in found["results"]}
    assert {("adam", "adam: torch"), ("rowwise_adagrad", "adagrad")} <= compared
    assert all((name, f"{name}: its bytes") in compared for name in OPTIMIZERS)


def test_the_yardstick_touches_every_float_of_the_picked_rows() -> None:
    scattered = Scattered(20 * 12)
    add = scattered.adder(12, [np.array([3, 19, 3]), np.array([0])])
    add(0)
    add(1)
    expected = np.ones((20, 3), np.float32)
    expected[[3, 19, 0]] += [[2], [1], [1]]
    np.testing.assert_array_equal(scattered._floats.reshape(20, 3), expected)
    with pytest.raises(ValueError, match="below 20"):
        scattered.adder(12, [np.array([20])])
