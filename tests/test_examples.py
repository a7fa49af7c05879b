"""The examples run as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_recommender_learns() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "recommender.py")], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    error, spread = map(float, re.findall(r"(\d+\.\d+)", done.stdout.splitlines()[0]))
    assert error < 0.2 * spread
    assert "trainer" in done.stdout
