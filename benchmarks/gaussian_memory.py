"""Look-ups in a full Gaussian memory, in process: against numpy's cost of the matrix of distances alone.

carls uses one thread; numpy multiplies matrices with as many as OPENBLAS_NUM_THREADS gives it. Its matrix
is that of the squared distances by |x|^2 - 2 x m + |m|^2, in float32: the nearest cluster, means, variances
and all that learns are not in it. "numpy, read" and "numpy, update" do the rest, as plainly as numpy can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import typer

import carls
from benchmarks import options
from benchmarks.comparison import Comparison, run, versions
from benchmarks.plan import Plan
from benchmarks.tables import use_threads
from carls.cli.bench.cases import Cases

#: Batches that calls take in turn.
BATCHES = 50
#: Points that a cluster keeps.
BUFFER = 32

Points = npt.NDArray[np.float32]
FULL = Plan((), batch=(256, 16, 1), dim=(128,), rows=1000, calls=200)


@dataclass
class NumpyMemory:
    """A full memory in numpy: read, or update with running buffers.

    Attributes:
        buffers: (clusters, BUFFER, dim) float32, the points of each cluster.
        next: (clusters,) the place of the next point in each.
    """

    buffers: Points
    next: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        self.means = self.buffers.mean(axis=1)

    def distances(self, x: Points) -> Points:
        """(n, clusters) squared distances."""
        squares = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", self.means, self.means)
        result: Points = squares - 2 * (x @ self.means.T)
        return result

    def read(self, x: Points) -> Points:
        """(n, dim) means of the nearest clusters, and their variances."""
        nearest = self.distances(x).argmin(axis=1)
        self.buffers[nearest].var(axis=1)
        means: Points = self.means[nearest]
        return means

    def update(self, x: Points) -> None:
        """Add each point to its nearest cluster, in order."""
        for point in x:
            difference = self.means - point
            cluster = np.einsum("ij,ij->i", difference, difference).argmin()
            self.buffers[cluster, self.next[cluster]] = point
            self.next[cluster] = (self.next[cluster] + 1) % BUFFER
            self.means[cluster] = self.buffers[cluster].mean(axis=0)


def filled(bank: carls.Bank, distance: str, points: Points) -> carls.GaussianMemory:
    """A memory whose clusters keep `points` (clusters, BUFFER, dim), and that may not grow further."""
    clusters, buffer, dim = points.shape
    memory = bank.gaussian_memory(
        distance,
        dim=dim,
        buffer_size=buffer,
        distance_threshold=0.5,
        max_clusters=clusters,
        bootstrap_steps=0,
        min_variance=1e-3,
        distance=distance,
    )
    memory.load(
        {
            "points": points.reshape(-1, dim),
            "cluster": np.repeat(np.arange(clusters), buffer),
            "counts": np.array([1, len(points), 0, 0]),
        }
    )
    return memory


def cases(bank: carls.Bank, clusters: int, dim: int, batch: int) -> Cases:
    """Look-ups of `batch` points in memories with the same clusters."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((clusters, 1, dim), np.float32)
    points = centres + 0.5 * draw.standard_normal((clusters, BUFFER, dim), np.float32)
    batches = [
        centres[draw.integers(0, clusters, batch), 0] + 0.5 * draw.standard_normal((batch, dim), np.float32)
        for _ in range(BATCHES)
    ]
    plain, gaussian = (filled(bank, distance, points) for distance in ("squared_l2", "gaussian"))
    numpy = NumpyMemory(points.copy(), np.zeros(clusters, np.int64))
    return {
        "carls, read": lambda i: plain.lookup(batches[i % BATCHES]),
        "carls, update": lambda i: plain.lookup(batches[i % BATCHES], "update"),
        "carls, grow": lambda i: plain.lookup(batches[i % BATCHES], "grow"),
        "carls, gaussian, read": lambda i: gaussian.lookup(batches[i % BATCHES]),
        "carls, gaussian, update": lambda i: gaussian.lookup(batches[i % BATCHES], "update"),
        "numpy, distances alone": lambda i: numpy.distances(batches[i % BATCHES]),
        "numpy, read": lambda i: numpy.read(batches[i % BATCHES]),
        "numpy, update": lambda i: numpy.update(batches[i % BATCHES]),
    }


def comparisons(plan: Plan) -> Iterator[Comparison]:
    """One for each dim and batch."""
    for dim in plan.dim:
        for batch in plan.batch:
            with carls.connect() as bank:
                title = f"{plan.rows} clusters, {batch} x {dim}"
                yield Comparison(title, batch, cases(bank, plan.rows, dim, batch), ours=5)


def main(
    batch: options.Batch = None,
    dim: options.Dim = None,
    rows: options.Rows = None,
    calls: options.Calls = None,
    quick: options.Quick = False,
    json: options.Json = None,
) -> None:
    """Time look-ups in a Gaussian memory against numpy; --rows are clusters."""
    use_threads(1)
    plan = Plan.of(FULL, quick=quick, batch=batch, dim=dim, rows=rows, calls=calls)
    run("gaussian_memory", plan, comparisons(plan), json, threads=1, versions=versions("numpy"))


if __name__ == "__main__":
    typer.run(main)
