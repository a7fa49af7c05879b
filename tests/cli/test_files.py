"""`carls export` and `carls import` against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import carls
from carls.cli.main import app
from carls.service import BankProcess


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carls", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with a table that was trained."""
    with BankProcess() as server:
        with carls.connect(server.url, producer="trainer") as bank:
            items = bank.embeddings("items", dim=2, optimizer=carls.Adam())
            items.lookup(np.arange(1500))
            items.push_gradients(np.arange(100), np.ones((100, 2), np.float32), step=3)
            bank.gaussian_memory(
                "memory",
                dim=2,
                buffer_size=8,
                distance_threshold=1.0,
                max_clusters=2,
                bootstrap_steps=0,
                min_variance=1e-3,
            )
        yield server.url


def test_a_table_goes_to_a_file_and_into_a_new_table(url: str, tmp_path: Path) -> None:
    file = str(tmp_path / "items.parquet")
    done = run("export", "--bank", url, "--table", "items", file, "--state")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1,500 rows of items written to ")
    done = run("import", "--bank", url, "--table", "copy", file, "--state")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1,500 rows of ")
    with carls.connect(url) as bank:
        assert bank.describe("copy").spec == bank.describe("items").spec
        one, other = (bank.open(name).to_arrow(state=True).sort_by("key") for name in ("items", "copy"))
        assert one.drop(["written"]).equals(other.drop(["written"]))
    assert "overwrite" in refusal("export", "--bank", url, "--table", "items", file)
    assert pq.read_table(file).num_columns == 8
    done = CliRunner().invoke(app, ["export", "--bank", url, "--table", "items", file, "--overwrite"])
    assert done.exit_code == 0
    assert pq.read_table(file).schema.names == ["key", "value"]


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, carls.CarlsError)
    return str(done.exception)


def test_what_cannot_be_is_told(url: str, tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    assert "no table 'none'" in refusal("export", "--bank", url, "--table", "none", str(file))
    assert "to_safetensors" in refusal("export", "--bank", url, "--table", "memory", str(file))
    assert not file.exists()
    assert "no such file" in refusal("import", "--bank", url, "--table", "new", str(file))
    assert "own process" in refusal("export", "--bank", "memory://", "--table", "t", str(file))
    pq.write_table(pa.table({"key": [1], "value": [[1.0]]}), file)
    assert "does not say how to make it" in refusal("import", "--bank", url, "--table", "new", str(file))
    with carls.connect(url) as bank:
        assert "new" not in [info.name for info in bank.tables()]
