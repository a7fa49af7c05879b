"""Tables that are measured: their keys and their rows; and how many threads may work on them."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import carls
from benchmarks.plan import Indices

Matrix = npt.NDArray[np.float32]

#: Keys of one call while a table is filled.
_FILL = 8192


def integer_keys(rows: int) -> Indices:
    """(rows,) int64 keys, not in a row."""
    return np.arange(rows) * 7919


def string_keys(rows: int) -> list[str]:
    """Keys of 13 bytes."""
    return [f"item/{i:08d}" for i in range(rows)]


def weights(rows: int, dim: int) -> Matrix:
    """(rows, dim) float32, standard normal, the same at every call."""
    return np.random.default_rng(1).standard_normal((rows, dim), dtype=np.float32)


def fill(table: carls.EmbeddingTable, keys: Any, weight: Matrix) -> None:
    """Write row i of `weight` under key i of `keys`, a list or an array."""
    for start in range(0, len(keys), _FILL):
        table.assign(keys[start : start + _FILL], weight[start : start + _FILL])


def use_threads(threads: int) -> None:
    """Torch, Arrow and processes started from now on compute with so many threads each."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    pa.set_cpu_count(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
