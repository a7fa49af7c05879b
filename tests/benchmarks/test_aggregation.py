"""Lazy aggregation on real ratings: asynchrony costs little, and a faulty trainer nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import carls
from benchmarks.aggregation import CASES, OPTIMIZERS, REFERENCE, Ratings, find_data, main, train


def test_without_the_ratings_the_message_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="CARLS_DATA"):
        find_data(tmp_path)


def test_a_faulty_trainer_does_not_hurt_a_lazy_table(data_folder: Path) -> None:
    ratings = Ratings.read(find_data(data_folder))
    optimizer, epochs = OPTIMIZERS["sgd"], 2
    clean, none = train(ratings, CASES["four trainers, lazy"], optimizer, 0, epochs)
    faulty, outliers = train(ratings, CASES["four, one faulty, lazy"], optimizer, 0, epochs)
    eager, _ = train(ratings, CASES["four, one faulty, eager"], optimizer, 0, epochs)
    assert clean < 0.92  # always the mean: 1.05; after two epochs in one trainer: 0.904
    assert faulty < clean + 0.01
    assert none < 200 < outliers
    assert math.isnan(eager) or eager > clean + 0.05


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("data_folder")
def test_full_experiment(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(
        app, ["--seeds", "3", "--json", str(tmp_path / "a.json")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert document["name"] == "aggregation"
    assert document["machine"]["carls"] == carls.__version__
    figures = {(r["case"], r["metric"]): r for r in document["results"]}
    for optimizer in OPTIMIZERS:
        for case in ("four trainers, lazy", "four, one faulty, lazy", "four, one faulty, lazy, dropping"):
            beyond = figures[f"{optimizer}: {case}", "RMSE beyond"]
            assert beyond["n"] == 3
            assert beyond["value"] < 0.01, case
            assert beyond["against"] == f"{optimizer}: {REFERENCE}"
    assert figures["sgd: four, one faulty, eager", "gave up"]["value"] >= 2
    assert figures["adagrad: four, one faulty, eager", "RMSE beyond"]["value"] > 0.01
