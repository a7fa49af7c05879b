"""`carls mtl node` against a real server, and the files that it reads."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file

import carls
from carls.cli.mtl.samples import FileSamples
from carls.errors import InvalidRequestError, InvalidValueError
from carls.mtl import MultiTaskRegressor
from carls.service import BankProcess


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with BankProcess() as server:
        yield server.url


def columns(seed: int, rows: int = 30) -> dict[str, Any]:
    """Numbers in an order that differs from site to site, and a column of text."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, 3))
    score = features @ [1.0, 2.0, 3.0] + random.standard_normal(rows)
    given = {"age": features[:, 0], "grade": features[:, 1], "hours": features[:, 2], "score": score}
    names = list(random.permutation(list(given)))
    return {"pupil": [f"p{row}" for row in range(rows)], **{name: given[name] for name in names}}


def write(path: Path, table: dict[str, Any]) -> Path:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(pa.table(table), path)
    else:
        pyarrow.parquet.write_table(pa.table(table), path)
    return path


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "carls", "mtl", "node", "--bank", url, "--target", "score", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    said, complained = process.communicate(timeout=100)
    return process.returncode, said, complained


def test_sites_with_files_of_either_kind_fit_the_pooled_optimum(url: str, tmp_path: Path) -> None:
    data = [columns(0), columns(1)]
    files = [write(tmp_path / "north.parquet", data[0]), write(tmp_path / "south.csv", data[1])]
    outs = [tmp_path / "north.json", tmp_path / "south.safetensors"]
    ends = ["--rho", "5", "--until-gap", "1e-10", "--min-tasks", "2", "--deadline", "90"]
    processes = [
        start(url, "--table", "school", "--task", file.stem, "--data", str(file), "--out", str(out), *ends)
        for file, out in zip(files, outs, strict=True)
    ]
    for process in processes:
        code, said, complained = finished(process)
        assert code == 0, complained
        assert "30 samples of 3 features" in said
        assert "age, grade, hours" in said
        assert "2 tasks, relative gap" in said
    X = [np.stack([table[name] for name in ("age", "grade", "hours")], axis=1) for table in data]
    fitted = MultiTaskRegressor("nuclear", 5.0, fit_intercept=False, tol=1e-12).fit(
        X, [table["score"] for table in data]
    )
    north = json.loads(outs[0].read_text())
    assert north["features"] == ["age", "grade", "hours"]
    assert (north["task"], north["table"], north["intercept"]) == ("north", "school", 0.0)
    np.testing.assert_allclose(north["model"], fitted.coef_[0], atol=1e-4)
    np.testing.assert_allclose(load_file(outs[1])["model"], fitted.coef_[1], atol=1e-4)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_it_says_what_was_done(url: str, tmp_path: Path, stop: Any) -> None:
    file, out = write(tmp_path / "west.parquet", columns(2)), tmp_path / "west.json"
    process = start(
        url,
        "--table",
        "forever",
        "--task",
        "west",
        "--data",
        str(file),
        "--rho",
        "5",
        "--out",
        str(out),
        "--leave",
    )
    with carls.connect(url) as bank, bank.tasks("forever", 3, rho=5.0) as table:
        while not any(node.updates for node in table.state().nodes):
            assert process.poll() is None
        process.send_signal(stop)
        code, said, complained = finished(process)
        assert code == 0, complained
        assert "stopping" in said
        assert " updates, 0 interruptions" in said
        assert "taken out" in said
        assert table.tasks == []
    assert len(json.loads(out.read_text())["model"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "none"], "whoever comes first makes it"),
        (["--table", "rows"], "expected a table of tasks"),
        (["--table", "wide"], r"3 features \(age, grade, hours\).*for 7"),
        (["--table", "wide", "--features", "age,size"], "no column 'size'"),
        (["--table", "wide", "--out", "model.pt"], r"\.json or \.safetensors"),
        (["--table", "wide", "--bank", "memory://"], "its own process alone"),
        (["--table", "new", "--rho", "1", "--loss", "hinge"], "loss='hinge': expected one of"),
        (["--table", "new", "--rho", "1", "--loss", "logistic"], "expected -1 or 1"),
        (["--table", "new", "--rho", "1", "--task", "a task"], "task name 'a task'"),
        (["--table", "new", "--rho", "1", "--until-gap", "0"], "--until-gap 0: expected"),
        (["--table", "new", "--rho", "1", "--deadline", "-1"], "--deadline=-1.0: expected seconds"),
        (["--table", "new", "--rho", "-1"], "rho=-1.0: expected"),
        (["--table", "new", "--rho", "1", "--regularizer", "l3"], "unknown regularizer 'l3'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_and_changes_nothing(
    url: str, tmp_path: Path, arguments: list[str], message: str, capsys: Any, monkeypatch: Any
) -> None:
    from carls.cli.main import main

    with carls.connect(url) as bank:
        bank.tasks("wide", 7)
        bank.embeddings("rows", dim=3)
    file = write(tmp_path / "east.parquet", columns(3))
    given = ["--bank", url, "--target", "score", "--task", "east", "--data", str(file), *arguments]
    monkeypatch.setattr(sys, "argv", ["carls", "mtl", "node", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert re.search(message, capsys.readouterr().err)
    with carls.connect(url) as bank:
        with pytest.raises(carls.UnknownTableError):
            bank.open("new")
        assert bank.tasks("wide", 7).tasks == []


def test_columns_are_ordered_by_name_and_text_is_left_out(tmp_path: Path) -> None:
    table = {**columns(0), "passed": [True] * 30, "weight": np.arange(30)}
    samples = FileSamples.read(write(tmp_path / "a.parquet", table), "score", None, "weight")
    assert samples.names == ("age", "grade", "hours", "passed")
    np.testing.assert_array_equal(samples.features[:, 2], table["hours"])
    np.testing.assert_array_equal(samples.features[:, 3], 1.0)
    np.testing.assert_array_equal(samples.weights, np.arange(30))
    chosen = FileSamples.read(tmp_path / "a.parquet", "score", ["hours", "age"])
    assert chosen.names == ("age", "hours")


def test_missing_targets_are_taken_and_missing_features_are_not(tmp_path: Path) -> None:
    table = columns(0)
    file = write(tmp_path / "a.csv", {**table, "score": [None, *table["score"][1:]]})
    assert np.isnan(FileSamples.read(file, "score").targets).tolist() == [True] + [False] * 29
    file = write(tmp_path / "b.parquet", {**table, "hours": [*table["hours"][:29], None]})
    with pytest.raises(InvalidValueError, match=r"'hours'.*1 values.*row 29.*impute"):
        FileSamples.read(file, "score")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("nothing",), InvalidRequestError, "no column 'nothing'"),
        (("score", ["age", "pupil"]), InvalidValueError, "'pupil'.*string.*encode"),
        (("pupil",), InvalidValueError, "'pupil'.*string"),
        (("score", ["age", "age"]), InvalidRequestError, "each once"),
        (("score", ["score"]), InvalidRequestError, "not the target"),
        (("score", []), InvalidRequestError, "one column"),
    ],
)
def test_columns_that_cannot_be_are_refused(
    tmp_path: Path, arguments: Any, error: type[Exception], message: str
) -> None:
    file = write(tmp_path / "a.parquet", columns(0))
    with pytest.raises(error, match=message):
        FileSamples.read(file, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,score\n", "no rows"),
        ("age,score\n1,\n2,\n", "'score'.*no value"),
        ("age,score,score\n1,2,3\n", "several columns 'score'"),
        ("age,age,score\n1,2,3\n", "several columns 'age'"),
    ],
)
def test_tables_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InvalidRequestError, match=message):
        FileSamples.read(tmp_path / "a.csv", "score")


def test_columns_of_text_may_share_a_name_and_decimals_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("note,note,age,score\nx,z,2,3\n")
    assert FileSamples.read(tmp_path / "a.csv", "score").names == ("age",)
    table = {"price": [Decimal("1.25")], "score": [Decimal("2.50")]}
    samples = FileSamples.read(write(tmp_path / "a.parquet", table), "score")
    assert (samples.features.tolist(), samples.targets.tolist()) == ([[1.25]], [2.5])


@pytest.mark.parametrize("name", ["a.txt", "missing.parquet", "broken.parquet"])
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(InvalidRequestError, match=name):
        FileSamples.read(tmp_path / name, "score")
