"""Quadratic regularizers: g(W) = |W R|_F^2, where R says how tasks are related."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from carls.errors import InvalidSpecError
from carls.specs.regularizer import Matrix, Regularizer

#: Eigenvalues of R R' below this share of the largest are 0.
_NULL = 1e-12


@dataclass(frozen=True)
class Quadratic(Regularizer):
    """Base of |W R|_F^2 = trace(W R R' W')."""

    def gram(self, tasks: int) -> Matrix:
        """R R', (tasks, tasks)."""
        raise NotImplementedError

    def value(self, matrix: Matrix) -> float:
        values, vectors = _spectrum(self, matrix.shape[1])
        return float(np.sum((matrix @ vectors) ** 2 @ values))

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        """V (I + 2 * step * R R')^-1."""
        values, vectors = _spectrum(self, matrix.shape[1])
        found: Matrix = ((matrix @ vectors) / (1 + 2 * step * values)) @ vectors.T
        return found

    def conjugate(self, matrix: Matrix, rho: float, radius: float) -> tuple[float, float]:
        """trace(Y (R R')^+ Y') / (4 rho), and radius times the norm of what of Y only models that
        cost nothing could answer, such as equal ones under `MeanRegularized`."""
        values, vectors = _spectrum(self, matrix.shape[1])
        energy = np.sum((matrix @ vectors) ** 2, axis=0)
        real = values > 0
        curved = float(np.sum(energy[real] / values[real])) / (4 * rho)
        return 1.0, curved + radius * float(np.sqrt(energy[~real].sum()))

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        del dim
        return 2 * norm * float(_spectrum(self, tasks)[0].sum()) / max(tasks, 1)


@dataclass(frozen=True)
class Projecting(Quadratic):
    """Base of those whose R R' is a projection: the square of a part of W. They need no eigenvectors, which
    for thousands of tasks take minutes."""

    def split(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        """What of W costs nothing, and what its square costs; their sum is W."""
        raise NotImplementedError

    def value(self, matrix: Matrix) -> float:
        return float(np.sum(self.split(matrix)[1] ** 2))

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        free, costly = self.split(matrix)
        found: Matrix = free + costly / (1 + 2 * step)
        return found

    def conjugate(self, matrix: Matrix, rho: float, radius: float) -> tuple[float, float]:
        free, costly = self.split(matrix)
        return 1.0, float(np.sum(costly**2)) / (4 * rho) + radius * float(np.linalg.norm(free))


@dataclass(frozen=True)
class Ridge(Projecting):
    """The sum of squares, |W|_F^2 without a half: tasks are not coupled."""

    name: ClassVar[str] = "ridge"

    def gram(self, tasks: int) -> Matrix:
        return np.eye(tasks)

    def split(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        return np.zeros_like(matrix), matrix

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        del dim
        return 2 * norm * min(tasks, 1)


@dataclass(frozen=True)
class MeanRegularized(Projecting):
    """sum_t |w_t - mean|^2, the mean over the tasks present (Evgeniou, Pontil 2004)."""

    name: ClassVar[str] = "mean"

    def gram(self, tasks: int) -> Matrix:
        return np.eye(tasks) - 1 / max(tasks, 1)

    def split(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        mean = matrix.sum(axis=1, keepdims=True) / max(matrix.shape[1], 1)
        return np.broadcast_to(mean, matrix.shape), matrix - mean

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        del dim
        return 2 * norm * max(tasks - 1, 0) / max(tasks, 1)


@dataclass(frozen=True)
class Graph(Quadratic):
    """|W R|_F^2 for any relations R: sparse relations between tasks, SRMTL (Zhou, Chen, Ye 2011).

    A column of R is a relation: (1, -1) at two tasks asks that they be alike. Relations to tasks
    that are not there count for nothing, so tasks may join and leave.

    Attributes:
        relations: R, (tasks, relations), rows of finite numbers.
        tasks: the name of each row; "0", "1", ... by default.
    """

    name: ClassVar[str] = "graph"
    relations: tuple[tuple[float, ...], ...]
    tasks: tuple[str, ...] = ()

    def __init__(self, relations: Any, tasks: Sequence[str] = ()) -> None:
        try:
            table = np.array(relations, np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidSpecError(
                f"Graph(relations={relations!r:.60}): expected numbers ({error})"
            ) from None
        if table.ndim != 2 or not np.isfinite(table).all():
            raise InvalidSpecError(
                f"Graph(relations=array of shape {table.shape}): expected (tasks, relations), all finite"
            )
        names = tuple(tasks) or tuple(map(str, range(len(table))))
        if len(names) != len(table) or len(set(names)) != len(names):
            raise InvalidSpecError(
                f"Graph(tasks={names!r:.60}): expected {len(table)} names, all different, one for each row"
            )
        object.__setattr__(self, "relations", tuple(map(tuple, table.tolist())))
        object.__setattr__(self, "tasks", names)

    def __hash__(self) -> int:
        # Spectra are kept by regularizer, and R may have millions of numbers.
        return hash(self.tasks)

    def gram(self, tasks: int) -> Matrix:
        if tasks != len(self.tasks):
            raise InvalidSpecError(
                f"Graph with relations of {len(self.tasks)} tasks: expected as many columns, got {tasks}"
            )
        relations = np.array(self.relations, np.float64).reshape(tasks, -1 if tasks else 0)
        gram: Matrix = relations @ relations.T
        return gram

    def to_json(self) -> dict[str, Any]:
        """Its name, the rows of R and the tasks' names."""
        return {
            "name": self.name,
            "relations": [list(row) for row in self.relations],
            "tasks": list(self.tasks),
        }

    def over(self, tasks: Sequence[str]) -> Graph:
        """The relations of which all tasks are there; a task that the graph does not name has none."""
        if tuple(tasks) == self.tasks:
            return self
        table = np.array(self.relations, np.float64).reshape(len(self.tasks), -1)
        present = set(tasks)
        absent = [name not in present for name in self.tasks]
        kept = ~np.any(table[absent] != 0, axis=0)
        rows = {name: row[kept] for name, row in zip(self.tasks, table, strict=True)}
        none = np.zeros(int(kept.sum()))
        chosen = [rows.get(name, none) for name in tasks]
        return Graph(np.array(chosen, np.float64).reshape(len(tasks), len(none)), tasks)


# One of thousands of tasks takes 128 MiB.
@lru_cache(maxsize=16)
def _spectrum(regularizer: Quadratic, tasks: int) -> tuple[Matrix, Matrix]:
    """Eigenvalues and eigenvectors of R R'."""
    values, vectors = np.linalg.eigh(regularizer.gram(tasks))
    values[values < _NULL * values.max(initial=0.0)] = 0.0
    return np.maximum(values, 0), vectors
