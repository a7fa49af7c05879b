"""The short form of each benchmark, and what it writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import SUBJECTS
from benchmarks.report import fill, render

ROOT = Path(__file__).parent.parent.parent
#: Enough to go through every line; the rest of a subject's choices is more of the same.
SHORTER = {
    "training_step": ["--threads", "1", "--keys", "power-law"],
    "threads": ["--keys", "uniform"],
    "makers": ["--kind", "waiting"],
}


def short_form(subject, path):
    if subject == "redis_server" and shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("needs redis-server (Debian's package of that name)")
    app = typer.Typer()
    app.command()(import_module(f"benchmarks.{subject}").main)
    arguments = ["--quick", "--json", str(path), *SHORTER.get(subject, [])]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(path.read_text()), done.output


@pytest.mark.parametrize("subject", [subject for subject in SUBJECTS if subject not in ("stalls", "memory")])
def test_short_form_writes_figures_that_agree(subject, tmp_path):
    document, output = short_form(subject, tmp_path / f"{subject}.json")
    assert document["name"] == subject
    assert document["config"]["threads"]
    assert document["config"]["versions"]
    assert document["machine"]["cores"] == os.cpu_count()
    plain = {(r["case"], r["metric"]): r for r in document["results"] if r["against"] is None}
    compared = [r for r in document["results"] if r["against"] is not None]
    assert compared
    for result in compared:
        mine, its = (plain[case, result["metric"]] for case in (result["case"], result["against"]))
        assert result["value"] == pytest.approx(mine["value"])
        assert result["ratio"] == pytest.approx(mine["value"] / its["value"])
    # A difference may be below 0.
    positive = [r for r in plain.values() if r["metric"] != "beyond the control"]
    assert all(r["value"] > 0 for r in positive if r["unit"] in ("ms", "rows/s"))
    assert all(r["n"] >= 20 for r in plain.values() if r["metric"].startswith(("median", "p99")))
    assert f"{compared[0]['ratio']:.2f}" in output
    page = "".join(f"<!-- figures: {name} -->\nold {name}\n<!-- end -->\n" for name in (subject, "other"))
    filled = fill(page, tmp_path)
    assert render(document) in filled
    assert f"old {subject}" not in filled
    assert "old other" in filled
    assert fill(filled, tmp_path) == filled


def test_all_run_by_one_command(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "threads", "--quick", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=250)
    assert [path.name for path in tmp_path.iterdir()] == ["threads.json"]
    command[3] = "typing"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode != 0
    assert "typing" in done.stderr


def test_the_page_has_a_place_for_each_subject():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert set(SUBJECTS) <= set(re.findall(r"<!-- figures: (\w+) -->", page))


def test_tables_are_markdown():
    result = {"metric": "rate", "unit": "rows/s", "sd": None, "n": 20, "against": None, "ratio": None}
    document = {
        "name": "lookup",
        "config": {"threads": 1, "batch": [1, 16], "versions": {"numpy": "2.0"}},
        "machine": {"processor": "P", "cores": 2, "system": "Linux", "python": "3.11", "carls": "0.1"},
        "results": [
            {**result, "case": "t: ours", "value": 4e6},
            {**result, "case": "t: its", "value": 2e6},
            {**result, "case": "t: ours", "value": 4e6, "against": "t: its", "ratio": 2.0},
        ],
    }
    assert render(document).splitlines() == [
        "P, 2 cores, Linux; Python 3.11, carls 0.1; numpy 2.0. Run with threads 1, batch 1/16.",
        "",
        "**t**",
        "",
        "| case | rate, M rows/s | ours / it, rate |",
        "| --- | ---: | ---: |",
        "| ours | 4 |  |",
        "| its | 2 | 2.00 |",
    ]
