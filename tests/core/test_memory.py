"""What a row costs beyond its key, value and optimizer state; what is left when memory ends."""

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
        [sys.executable, "-c", PEAK, "1000000", keys], capture_output=True, text=True, check=True, timeout=250
    )
    overhead = float(done.stdout)
    assert 24 < overhead <= (48 if keys == "int64" else 56)


FULL = r"""
import re, resource
import numpy as np, carls
table = carls.connect().features("t", {"a": "list<int32>", "b": "list<int32>"})
few = [np.arange(3, dtype=np.int32)]
many = [np.arange(1_500_000, dtype=np.int32)]  # 6 MB
for key in range(1, 20):
    table.assign([key], {"a": few, "b": few})
used = int(re.search(r"VmSize:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 160_000_000, resource.RLIM_INFINITY))  # two segments
done, error = 0, None
while error is None and done < 40:
    try:
        table.assign([done + 1], {"a": many, "b": many})
        done += 1
    except carls.TableFullError as refused:
        error = refused
try:  # a key that is new
    table.assign([99], {"a": many, "b": many})
except carls.TableFullError:
    pass
else:
    raise AssertionError("there was room")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert "out of memory in table 't'" in str(error), error
assert len(table) == 19
for key in range(1, 20):
    rows = table.lookup([key])
    whole = 1_500_000 if key <= done else 3
    assert rows["a"].lengths.tolist() == rows["b"].lengths.tolist() == [whole], key
    assert rows.version.tolist() == [2 if key <= done else 1]
assert not table.lookup([99]).found.any()
table.assign([99], {"a": many, "b": few})
assert table.lookup([99]).version.tolist() == [1]
print(done)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of the process")
def test_a_row_is_written_whole_or_not_at_all_when_memory_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
