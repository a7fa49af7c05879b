"""The content of a memory as arrays, and as a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from carls.client.published import published
from carls.errors import InvalidValueError
from carls.messages import MemoryContent, MemoryCounts
from carls.specs import GaussianMemorySpec

_DTYPES = {"points": np.float32, "cluster": np.int64, "counts": np.int64}


def to_arrays(content: MemoryContent) -> dict[str, npt.NDArray[Any]]:
    """The content as three arrays."""
    counts = np.array(content.counts, np.int64)
    return {"points": content.points, "cluster": content.cluster, "counts": counts}


def to_content(table: str, arrays: Any, dim: int) -> MemoryContent:
    """The content that `to_arrays` described.

    Raises:
        InvalidValueError: an array is missing, or of another dtype or shape.
    """
    if not isinstance(arrays, Mapping) or not all(name in arrays for name in _DTYPES):
        raise InvalidValueError(
            f"content for memory {table!r}: expected a mapping with {sorted(_DTYPES)}, as export() gives it",
            table=table,
        )
    found = {name: np.asarray(arrays[name]) for name in _DTYPES}
    points, cluster, counts = found["points"], found["cluster"], found["counts"]
    shapes = {
        "points": (len(cluster) if cluster.ndim else 0, dim),
        "cluster": (cluster.size,),
        "counts": (4,),
    }
    for name, array in found.items():
        if array.dtype != _DTYPES[name] or array.shape != shapes[name]:
            raise InvalidValueError(
                f"{name} in the content for memory {table!r} are {array.dtype} of shape {array.shape}: "
                "expected "
                f"{np.dtype(_DTYPES[name])} of shape {shapes[name]}",
                table=table,
            )
    return MemoryContent(
        np.ascontiguousarray(points), np.ascontiguousarray(cluster), MemoryCounts(*counts.tolist())
    )


def write_file(
    path: Path, arrays: dict[str, npt.NDArray[Any]], table: str, spec: GaussianMemorySpec, overwrite: bool
) -> None:
    """Write the arrays, whole or not at all."""
    said = json.dumps({"format": 1, "table": table, "spec": spec.to_json()})
    with published(path, overwrite) as file:
        file.write(safetensors.numpy.save(arrays, {"carls": said}))


def read_file(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file.

    Raises:
        InvalidValueError: it is not there, or no safetensors file.
    """
    try:
        return safetensors.numpy.load(path.read_bytes())
    except Exception as error:  # its own kinds of errors, and those of the system
        raise InvalidValueError(f"{path} cannot be read as a safetensors file: {error}") from None
