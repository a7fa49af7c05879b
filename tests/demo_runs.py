"""Demos as their users run them: `carls demo ...` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def carls_demo(
    *arguments: object, cwd: Path, timeout: float = 250, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What became of `carls demo ARGUMENTS` in the folder `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "carls", "demo", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "110", **environment},
    )


def refused(*arguments: object, cwd: Path) -> str:
    """The one line that a demo says about wrong input, before any work, where there are no data."""
    done = carls_demo(*arguments, cwd=cwd, CARLS_DATA=str(cwd), XDG_CACHE_HOME=str(cwd))
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


def figures(path: Path) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    """A file of figures, seen to have the layout of all, and its results by case and metric; of a metric
    that is told twice, the last."""
    document = json.loads(path.read_text())
    assert sorted(document) == ["config", "machine", "name", "results"]
    keys = ["against", "case", "metric", "n", "ratio", "sd", "unit", "value"]
    assert all(sorted(result) == keys for result in document["results"])
    return document, {(result["case"], result["metric"]): result for result in document["results"]}


def is_png(path: Path) -> bool:
    """Whether there is a PNG."""
    return path.read_bytes().startswith(b"\x89PNG")
