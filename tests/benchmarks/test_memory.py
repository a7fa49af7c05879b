"""The benchmark of memory runs, and says what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_quick_run(tmp_path: Path) -> None:
    out = tmp_path / "memory.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--quick", "--json", str(out)],
        cwd=ROOT,
        check=True,
        timeout=250,
        stdout=subprocess.DEVNULL,
    )
    facts = json.loads(out.read_text())
    assert facts["name"] == "memory"
    rows = [result for result in facts["results"] if result["metric"] == "peak of a row"]
    assert [result["case"].split()[0] for result in rows] == ["int64", "string"]
    for result in rows:
        assert result["against"] == "bare bytes"
        assert 1.1 < result["ratio"] < 2
