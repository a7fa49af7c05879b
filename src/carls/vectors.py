"""The dtypes of vectors, float32 and float16, and the way from one to the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from carls import _core
from carls.errors import InvalidSpecError

#: Largest element of a vector of each dtype, in size.
LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in ("float32", "float16")}


def check_dtype(name: str, dtype: Any) -> str:
    """Return `dtype`, the argument `name`, if vectors can have it.

    Raises:
        InvalidSpecError: it is neither "float32" nor "float16".
    """
    if not isinstance(dtype, str) or dtype not in LARGEST:
        raise InvalidSpecError(f"{name}={dtype!r:.60}: expected one of {list(LARGEST)}")
    return dtype


def as_dtype(matrix: Any, dtype: str) -> Any:
    """`matrix` (n, d) itself, float32 or float16 in C order, or converted to `dtype`, the other one.

    Rounds to the nearest float16, ties to even. What is beyond the largest float16, 65504, becomes
    65504.
    """
    if matrix.dtype == dtype:
        return matrix
    return _core.to_halves(matrix) if dtype == "float16" else _core.to_floats(matrix)
