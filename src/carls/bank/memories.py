"""Gaussian memories of the engine."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from carls import _core
from carls.bank.checks import check_size
from carls.bank.tables import Table
from carls.errors import InvalidRequestError, InvalidValueError, TableFullError
from carls.messages import Floats, LoadMemory, MemoryBatch, MemoryContent, MemoryCounts
from carls.specs import GaussianMemorySpec
from carls.specs.memories import LARGEST_POINT
from carls.statistics import MemoryStatistics

#: Contents that may be on their way to one memory at once.
MAX_UPLOADS = 4

#: Calls and points that a content may have counted: there is room for those to come in an int64.
MAX_COUNT = 2**62

MODES = ("read", "update", "grow")


def check_points(table: str, points: npt.NDArray[Any], dim: int) -> Floats:
    """`points` in C order, if they are a float32 matrix (n, dim) with n >= 1 and finite, at most 1e15 in
    size.

    Raises:
        InvalidValueError: naming the dtype, the shape or the first element that cannot be.
    """
    if points.dtype != np.float32:
        raise InvalidValueError(
            f"points for memory {table!r} have dtype {points.dtype}: expected float32; convert them with "
            "points.astype('float32')",
            table=table,
        )
    if points.ndim != 2 or points.shape[1] != dim or len(points) == 0:
        raise InvalidValueError(
            f"points for memory {table!r} have shape {points.shape}: expected (n, {dim}) with n of at "
            "least 1",
            table=table,
        )
    return cast("Floats", check_size("points", table, np.ascontiguousarray(points), LARGEST_POINT))


class GaussianMemory(Table[GaussianMemorySpec]):
    """One memory: the core's, behind checks.

    A lock is held for each call: look-ups in mode "read" run side by side, one that changes the memory alone.
    """

    def __init__(self, name: str, spec: GaussianMemorySpec) -> None:
        super().__init__(name, spec)
        self._memory = _core.GaussianMemory(
            dim=spec.dim,
            buffer_size=spec.buffer_size,
            distance_threshold=spec.distance_threshold,
            max_clusters=spec.max_clusters,
            bootstrap_steps=spec.bootstrap_steps,
            min_variance=spec.min_variance,
            gaussian=spec.distance == "gaussian",
        )
        self._uploads: dict[str, list[LoadMemory]] = {}
        self._lock = threading.Lock()

    def lookup(self, points: Floats, mode: str) -> MemoryBatch:
        """The nearest cluster of each point (n, dim), after the points were absorbed if `mode` says so."""
        checked = check_points(self.name, points, self.spec.dim)
        try:
            return MemoryBatch(*self._memory.lookup(checked, mode))
        except MemoryError:
            raise TableFullError(
                f"out of memory in memory {self.name!r}, which takes {self.nbytes} bytes: drop tables, or "
                "give the "
                "bank more memory",
                table=self.name,
            ) from None

    def content(self) -> MemoryContent:
        """All that the memory knows."""
        points, cluster, counts = self._memory.save()
        return MemoryContent(points.reshape(-1, self.spec.dim), cluster, MemoryCounts(*counts))

    def load(self, request: LoadMemory) -> int:
        """Take one part of a content; with the last one it takes the place of the memory's own. Returns how
        many points were loaded, 0 before the last part.

        Raises:
            InvalidRequestError: parts out of order, or of a content that was given up.
            InvalidValueError: points or clusters that cannot be.
        """
        parts = self._collect(request)
        if parts is None:
            return 0
        points = np.concatenate([part.points for part in parts])
        cluster = np.ascontiguousarray(np.concatenate([part.cluster for part in parts]))
        try:
            self._memory.load(points, cluster, *request.counts)
        except ValueError as error:
            raise InvalidValueError(
                f"content for memory {self.name!r} of {self.spec}: {error}; nothing was changed",
                table=self.name,
            ) from None
        return len(points)

    def _collect(self, request: LoadMemory) -> list[LoadMemory] | None:
        """All parts, if this one completes them."""
        dim, most = self.spec.dim, self.spec.max_clusters * self.spec.buffer_size
        if request.points.ndim != 2 or request.points.shape[1] != dim:
            raise InvalidValueError(
                f"content for memory {self.name!r} has points of shape {request.points.shape}: expected "
                f"(n, {dim})",
                table=self.name,
            )
        if len(request.points):
            check_points(self.name, request.points, dim)
        fits = len(request.cluster) == len(request.points)
        if not fits or not 0 <= min(request.counts) <= max(request.counts) <= MAX_COUNT:
            raise InvalidValueError(
                f"content for memory {self.name!r} with {len(request.points)} points, the clusters of "
                f"{len(request.cluster)}, and counts {tuple(request.counts)}: expected a cluster for each "
                "point, "
                f"and counts from 0 to {MAX_COUNT}",
                table=self.name,
            )
        with self._lock:
            parts = self._uploads.pop(request.write.client, [])
            if request.part == 0:
                parts = []
            if len(parts) != request.part or not 0 <= request.part < request.parts:
                raise InvalidRequestError(
                    f"part {request.part} of {request.parts} of a content for memory {self.name!r} came "
                    "after "
                    f"{len(parts)} parts: at most {MAX_UPLOADS} are loaded at once and this one was given "
                    "up; load "
                    "it again",
                    table=self.name,
                )
            parts.append(request)
            if sum(len(part.points) for part in parts) > most:
                raise InvalidValueError(
                    f"content for memory {self.name!r} of more than {most} points: expected at most "
                    f"{self.spec.max_clusters} clusters of {self.spec.buffer_size}; nothing was changed",
                    table=self.name,
                )
            if len(parts) == request.parts:
                return parts
            self._uploads[request.write.client] = parts
            if len(self._uploads) > MAX_UPLOADS:
                del self._uploads[next(iter(self._uploads))]
            return None

    @property
    def memory_statistics(self) -> MemoryStatistics:
        """Its clusters, and what it counts itself."""
        return MemoryStatistics(len(self), *self._memory.counts())

    @property
    def nbytes(self) -> int:
        return self._memory.nbytes

    def __len__(self) -> int:
        return len(self._memory)
