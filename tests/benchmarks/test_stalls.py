"""The benchmark of stalls runs, and says what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_quick_run(tmp_path: Path) -> None:
    out = tmp_path / "stalls.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.stalls", "--quick", "--json", str(out)],
        cwd=ROOT,
        check=True,
        timeout=250,
        stdout=subprocess.DEVNULL,
    )
    facts = json.loads(out.read_text())
    assert facts["name"] == "stalls"
    figures = {(result["case"], result["metric"]): result for result in facts["results"]}
    kinds = {case for case, metric in figures if metric == "longest call"}
    assert kinds >= {"look up", "create", "push", "assign", "erase", "page of a scan", "drop another table"}
    longest = {case: figures[case, "longest call"]["value"] for case in kinds}
    assert facts["results"][0]["case"] == "any operation"
    assert longest.pop("any operation") == max(longest.values())
    gap = figures["control thread", "longest gap"]["value"]
    assert gap > 0
    for case, value in longest.items():
        assert figures[case, "median call"]["value"] <= value
        assert abs(figures[case, "beyond the control"]["value"] - (value - gap)) < 1e-6
