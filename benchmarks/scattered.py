"""The yardstick of a push: what the bytes of scattered rows cost, and nothing else.

A loop in C, compiled when it is needed, adds 1 to every float of the picked rows of a matrix, in
the order of the picks. While a row is worked on, the next ones are on their way from memory.
There are no keys, no index, no locks and no gradients.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_SOURCE = """
#include <stddef.h>
#include <stdint.h>

void add_one(float *rows, size_t floats, const int64_t *picks, size_t n, size_t ahead) {
    for (size_t i = 0; i < n; ++i) {
        if (i + ahead < n) {
            const char *next = (const char *)(rows + picks[i + ahead] * floats);
            for (size_t at = 0; at < floats * sizeof(float); at += 64) __builtin_prefetch(next + at, 1);
        }
        float *row = rows + picks[i] * floats;
        for (size_t k = 0; k < floats; ++k) row[k] += 1.0f;
    }
}
"""
#: Rows on their way at once; 4, 8 and 16 are alike, less or more is slower.
_AHEAD = 8


class Scattered:
    """A matrix of rows in memory, and the loop over them.

    Args:
        nbytes: of the matrix.

    Raises:
        FileNotFoundError: there is no C compiler.
    """

    def __init__(self, nbytes: int) -> None:
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "scattered.c"), Path(folder, "scattered.so")
            source.write_text(_SOURCE)
            command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)]
            subprocess.run(command, check=True)
            self._loop = ctypes.CDLL(str(library)).add_one
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._loop.argtypes = [pointer, size, pointer, size, size]
        self._loop.restype = None
        self._floats = np.zeros(nbytes // 4, np.float32)
        self._floats.fill(1.0)  # pages are given at the first write

    def adder(self, row_nbytes: int, batches: list[Any]) -> Callable[[int], None]:
        """A call of number i works on the rows of `row_nbytes` bytes that batch i picks."""
        floats = row_nbytes // 4
        rows = len(self._floats) // floats
        if max(int(picks.max()) for picks in batches) >= rows:
            raise ValueError(f"expected picks below {rows}")

        def add(i: int) -> None:
            picks = batches[i % len(batches)]
            self._loop(self._floats.ctypes.data, floats, picks.ctypes.data, len(picks), _AHEAD)

        return add
