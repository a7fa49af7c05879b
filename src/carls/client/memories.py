"""Gaussian memories, as their users see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from carls.bank.memories import MODES, check_points
from carls.client.arguments import as_floats
from carls.client.handle import TableHandle
from carls.client.memory_content import read_file, to_arrays, to_content, write_file
from carls.errors import InvalidRequestError, RequestTooLargeError
from carls.messages import (
    AbsorbPoints,
    ExportMemory,
    Floats,
    Int64s,
    LoadMemory,
    MemoryBatch,
    MemoryContent,
    ReadMemory,
    Reply,
    WriteId,
)
from carls.specs import GaussianMemorySpec
from carls.wire.limits import rows_per_request

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, eq=False)
class NearestClusters:
    """Of each of n points the cluster that is nearest, or that has taken it. The arrays are read-only.

    Attributes:
        cluster: (n,) int64, from 0 in the order in which clusters were made; -1 while there are none.
        mean: (n, dim) float32 of the cluster; 0 while there are none.
        variance: (n, dim) float32 of the cluster, of the population; 1 while there are none.
        distance: (n,) float32 to the cluster; infinite, or 0 for "gaussian", while there are none.
    """

    cluster: Int64s
    mean: Floats
    variance: Floats
    distance: Floats

    def __post_init__(self) -> None:
        for array in (self.cluster, self.mean, self.variance, self.distance):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.cluster)


class GaussianMemory(TableHandle[GaussianMemorySpec]):
    """A memory of Gaussian clusters: each has the mean and variance of the last points that it was given.

    The nearest cluster is that of the least squared distance (x - mean)**2, summed over the elements, and
    with `distance="gaussian"` divided by the variance first; of equal ones the first. Distances are compared
    in float64.
    """

    def lookup(self, x: Any, mode: str = "read", timeout_s: float | None = None) -> NearestClusters:
        """Look n points up, and let the memory learn from them.

        Args:
            x: (n, dim) float32, or what becomes that; finite, at most 1e15 in size.
            mode: "read" changes nothing. "update" adds each point to its nearest cluster. "grow" does so
                too, but a point farther than the threshold makes a new cluster, if more than
                `bootstrap_steps` calls in these two modes came before this one, and there is room. The very
                first point makes the first cluster in both.
            timeout_s: deadline; default the bank's.

        Points are absorbed in order: each sees what those before it in the batch have changed. The results
        are those after the last one: of the cluster that took the point, as it is then.

        Raises:
            InvalidValueError: another dtype or shape, no points, NaN or infinity; nothing was changed.
            RequestTooLargeError: over 16 MiB of points to absorb at once; larger reads are split.
            OutcomeUnknownError: no reply in time; `flush()` repeats the call, which is safe, and its result
                is lost.
        """
        points = self._points(x, mode)
        if mode == "read":
            return self._read(timeout_s, lambda left: self._find(points, left))
        return _clusters(self._write([self._absorption(points, mode)], timeout_s))

    def lookup_async(
        self, x: Any, mode: str = "read", timeout_s: float | None = None
    ) -> Future[NearestClusters]:
        """As `lookup`, in the background; what changes the memory is done in order."""
        points = self._points(x, mode).copy()  # the caller may use theirs again meanwhile
        if mode == "read":
            return self._read_async(timeout_s, lambda left: self._find(points, left))
        return _after(self._write_async([self._absorption(points, mode)], timeout_s), _clusters)

    def score(self, x: Any, timeout_s: float | None = None) -> npt.NDArray[np.float64]:
        """How foreign n points are: (n,) float64, the larger the more; nothing changes.

        The squared distance to the nearest cluster: summed over the elements, or for "gaussian" their mean
        after division by the variance, which unlike the distance itself does not end at 0. Infinite
        while there are no clusters. Arguments and errors as for `lookup`.
        """
        found = self.lookup(x, "read", timeout_s)
        if self.spec.distance == "squared_l2":
            return found.distance.astype(np.float64)
        return foreignness(as_floats("points", x), found.mean, found.variance, found.cluster)

    def export(self, timeout_s: float | None = None) -> dict[str, npt.NDArray[Any]]:
        """All that the memory knows, as it is at one time.

        Returns:
            "points" (p, dim) float32, cluster by cluster and oldest first; "cluster" (p,) int64, the cluster
            of each; "counts" (4,) int64: calls that updated or grew, points of theirs, and points that were
            refused a cluster of their own in the bootstrap steps, and for want of room. Means and variances
            follow from the points.
        """
        return to_arrays(self._content(timeout_s))

    def load(self, source: Mapping[str, Any] | str | Path, timeout_s: float | None = None) -> None:
        """Let what `export` or `to_safetensors` gave take the place of all that the memory knows.

        It goes on just as the one that was exported: same means, variances, order of points and counts.

        Args:
            source: the arrays, or the path of a file. The memory that they are of may have had another
                spec, but the same dim, and neither more clusters nor fuller ones than this one may have.
            timeout_s: deadline for each 16 MiB; default the bank's.

        Raises:
            InvalidValueError: arrays or a file that cannot be; nothing was changed.
            OutcomeUnknownError: no reply in time; `flush()` sends what is left, which is safe.
        """
        arrays = read_file(Path(source)) if isinstance(source, str | Path) else source
        content = to_content(self.name, arrays, self.spec.dim)
        rows = rows_per_request(4 * self.spec.dim + 8)
        starts = range(0, max(len(content.points), 1), rows)

        def build(part: int, write: WriteId) -> LoadMemory:
            piece = slice(starts[part], starts[part] + rows)
            points, cluster = content.points[piece], content.cluster[piece]
            who = self.bank.producer
            return LoadMemory(self.name, part, len(starts), points, cluster, content.counts, who, write)

        self._write([partial(build, part) for part in range(len(starts))], timeout_s)

    def to_safetensors(
        self, path: str | Path, overwrite: bool = False, timeout_s: float | None = None
    ) -> None:
        """Write what `export` gives to a file, which appears when it is whole.

        The file's metadata says under `carls`, as JSON, which memory it is of, and its spec.

        Raises:
            InvalidRequestError: there is such a file and it may not be replaced, or it cannot be written.
        """
        write_file(Path(path), self.export(timeout_s), self.name, self.spec, overwrite)

    # --- requests ---

    def _points(self, x: Any, mode: str) -> Floats:
        if mode not in MODES:
            raise InvalidRequestError(f"mode={mode!r:.60}: expected one of {list(MODES)}")
        points = check_points(self.name, as_floats("points", x), self.spec.dim)
        most = rows_per_request(4 * self.spec.dim)
        if mode != "read" and len(points) > most:
            raise RequestTooLargeError(
                f"{len(points)} points for memory {self.name!r} take {points.nbytes} bytes: expected at "
                f"most {most} "
                f"points to {mode} it with, as all are one call; give it smaller batches",
                table=self.name,
            )
        return points

    def _find(self, points: Floats, timeout_s: float) -> NearestClusters:
        rows = rows_per_request(4 * self.spec.dim)
        who = self.bank.producer
        replies = [
            self._send(ReadMemory(self.name, points[start : start + rows], who), timeout_s)
            for start in range(0, len(points), rows)
        ]
        return _clusters(replies)

    def _absorption(self, points: Floats, mode: str) -> Callable[[WriteId], AbsorbPoints]:
        return partial(AbsorbPoints, self.name, points, mode == "grow", self.bank.producer)

    def _content(self, timeout_s: float | None) -> MemoryContent:
        return self._read(
            timeout_s, lambda left: cast("MemoryContent", self._send(ExportMemory(self.name), left))
        )


def foreignness(
    x: npt.NDArray[Any], mean: Floats, variance: Floats, cluster: Int64s
) -> npt.NDArray[np.float64]:
    """(n,) float64: mean of (x - mean)**2 / variance over the elements; infinite without a cluster."""
    squares = (x.astype(np.float64) - mean) ** 2 / variance
    return np.where(cluster < 0, np.inf, squares.mean(axis=1))


def _clusters(replies: list[Reply]) -> NearestClusters:
    batches = cast("list[MemoryBatch]", replies)
    if len(batches) == 1:
        return NearestClusters(*batches[0])
    return NearestClusters(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def _after(future: Future[T], convert: Callable[[T], U]) -> Future[U]:
    """A future of the other's result, converted."""
    converted: Future[U] = Future()
    converted.set_running_or_notify_cancel()

    def settle(done: Future[T]) -> None:
        try:
            converted.set_result(convert(done.result()))
        except BaseException as error:
            converted.set_exception(error)

    future.add_done_callback(settle)
    return converted
