"""What a row costs beyond its key, value and optimizer state."""

from __future__ import annotations

import subprocess
import sys

import pytest

PEAK = r"""
import re, sys
import numpy as np, carls
def peak():  # not ru_maxrss, which a child inherits from its parent
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
rows, keys = int(sys.argv[1]), sys.argv[2]
table = carls.connect().embeddings("t", dim=64, optimizer=carls.Adagrad())
def batch(start):
    ids = np.arange(start, min(start + 4096, rows)) * 7919
    return ids if keys == "int64" else [f"{i:016d}" for i in ids.tolist()]
table.lookup(batch(0)); table.erase(batch(0))
before = peak()
for start in range(0, rows, 4096):
    table.lookup(batch(start))
key_bytes = 8 if keys == "int64" else 16
print((peak() - before) / rows - key_bytes - 64 * 4 - 64 * 4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("keys", ["int64", "string"])
def test_overhead_of_a_row(keys: str) -> None:
    """At most 48 bytes a row at one million int64 keys (string keys add their 8-byte reference)."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "1000000", keys], capture_output=True, text=True, check=True, timeout=100
    )
    overhead = float(done.stdout)
    assert 24 < overhead <= (48 if keys == "int64" else 56)
