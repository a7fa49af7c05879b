"""GraphRegularizer: a vertex's output is drawn to what the bank knows of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from carls.client import EmbeddingTable, Rows
from carls.errors import InvalidValueError
from carls.keys import Int64s
from carls.messages import Floats
from carls.torch.neighbours import Neighbours
from carls.torch.transfer import to_device

_FORMS = ("probabilities", "logits")


@dataclass(frozen=True, eq=False)
class NeighbourRead:
    """What a forward pass read from the bank.

    Attributes:
        staleness: int64, (trainer step - row step) of each used neighbour whose writer said a step.
        masked: share of neighbours left out because missing, never written or not fresh; 0 to 1.
    """

    staleness: Int64s
    masked: float


class GraphRegularizer(nn.Module):
    """Squared distance between the outputs of vertices and their neighbours' rows in a bank.

    For a batch of n vertices with outputs f_i, neighbours j in N(i) with rows r_j and edge
    weights w_ij,

        loss = weight * ramp(step) / n * sum_i  [ sum_j m_j w_ij |f_i - r_j|^2 / sum_j m_j w_ij ]

    where m_j is 1 for rows that were written and are within the age bounds, else 0, a vertex
    without such neighbours adds 0, and ramp(step) = min(1, step / ramp_steps). The rows are
    knowledge that a maker computed from an earlier checkpoint: no gradient goes to them, and
    the trainer never computes a neighbour's output. The gradient needs only the weighted mean
    of a vertex's neighbours, so its cost does not grow with their number.

    Graph regularisation: T. D. Bui, S. Ravi, V. Ramavajjala, "Neural Graph Learning: Training
    Neural Networks Using Graphs", WSDM 2018. Neighbours from a knowledge bank: C.-T. Lu et
    al., "CARLS: Cross-platform Asynchronous Representation Learning System", arXiv 2105.12849.

    Args:
        vertices: embedding table with a row for each vertex, as wide as the outputs.
        on: "probabilities": rows hold probabilities and the outputs go through a softmax
            first; "logits": both are compared as they are.
        weight: of the loss, at least 0.
        ramp_steps: the loss grows linearly over so many steps; 0: full from the start.
        max_neighbours: only so many from the start of each list; None: all.
        max_age_steps: rows made more than so many steps before `step` are left out; None: no bound.
        max_age_s: rows written more than so many seconds ago are left out; None: no bound.

    Attributes:
        last_read: `NeighbourRead` of the last `forward`, None before.
    """

    def __init__(
        self,
        vertices: EmbeddingTable,
        *,
        on: str = "probabilities",
        weight: float = 1.0,
        ramp_steps: int = 0,
        max_neighbours: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
    ) -> None:
        super().__init__()
        _require(on in _FORMS, f"on={on!r}: expected one of {_FORMS}")
        _require(np.isfinite(weight) and weight >= 0, f"weight={weight!r}: expected a finite number >= 0")
        _require(ramp_steps >= 0, f"ramp_steps={ramp_steps!r}: expected an integer >= 0")
        _require(
            max_neighbours is None or max_neighbours > 0,
            f"max_neighbours={max_neighbours!r}: expected an integer > 0, or None for all",
        )
        self.vertices = vertices
        self.on = on
        self.weight = weight
        self.ramp_steps = ramp_steps
        self.max_neighbours = max_neighbours
        self.max_age_steps = max_age_steps
        self.max_age_s = max_age_s
        self.last_read: NeighbourRead | None = None

    def forward(
        self, outputs: torch.Tensor, neighbours: Any, weights: Any = None, *, step: int
    ) -> torch.Tensor:
        """The loss, a float32 scalar on the outputs' device.

        Args:
            outputs: (n, dim) logits of n vertices.
            neighbours: their neighbours' keys: `carls.Ragged` from a feature table, an (n, k)
                array or tensor, or n lists of any lengths.
            weights: edge weights >= 0 in the same form; None: all 1.
            step: the trainer's step, for the ramp, the age bound and the staleness.

        Raises:
            InvalidValueError: outputs of another width than the table, or lists that do not fit.
        """
        if outputs.ndim != 2 or outputs.shape[1] != self.vertices.dim:
            raise InvalidValueError(
                f"outputs of shape {tuple(outputs.shape)}: expected (n, {self.vertices.dim}), "
                f"the width of table {self.vertices.name!r}"
            )
        edges = Neighbours.of(neighbours, weights, len(outputs), self.max_neighbours)
        rows = self._read(edges, step)
        if rows is None or len(outputs) == 0:
            return outputs[:0].float().sum()  # 0 that can be trained on
        share, known = _shares(edges, rows, len(outputs))
        mean, spread = _neighbourhood(edges, np.asarray(rows.values, np.float32), share, len(outputs))
        seeds = torch.softmax(outputs.float(), dim=1) if self.on == "probabilities" else outputs.float()
        # sum_j s_j |f - r_j|^2 = |f - mean|^2 + spread, for shares s_j that sum to 1.
        squares = (seeds - to_device(mean, outputs.device)).square().sum(dim=1)
        total = (squares * to_device(known, outputs.device)).sum() + spread
        return total * (self.weight * self._ramp(step) / len(outputs))

    def prefetch(self, neighbours: Any, *, step: int) -> None:
        """Start the look-up for the `forward` that will get these neighbours and this step."""
        edges = Neighbours.of(neighbours, None, len(neighbours), self.max_neighbours)
        if edges.distinct is not None:
            self.vertices.prefetch(edges.distinct, **self._bounds(step))

    def extra_repr(self) -> str:
        return (
            f"vertices={self.vertices.name!r}, on={self.on!r}, weight={self.weight}, "
            f"ramp_steps={self.ramp_steps}, max_neighbours={self.max_neighbours}"
        )

    def _read(self, edges: Neighbours, step: int) -> Rows | None:
        if edges.distinct is None:
            self.last_read = NeighbourRead(np.zeros(0, np.int64), 0.0)
            return None
        rows = self.vertices.lookup(edges.distinct, **self._bounds(step))
        used = _usable(rows)[edges.place]
        steps = rows.step[edges.place][used]
        self.last_read = NeighbourRead(step - steps[steps >= 0], float(1.0 - used.mean()))
        return rows

    def _bounds(self, step: int) -> dict[str, Any]:
        return {
            "create": False,
            "at_step": step,
            "max_age_steps": self.max_age_steps,
            "max_age_s": self.max_age_s,
        }

    def _ramp(self, step: int) -> float:
        return 1.0 if self.ramp_steps == 0 else min(1.0, max(0.0, step / self.ramp_steps))


def _usable(rows: Rows) -> npt.NDArray[np.bool_]:
    """(rows,) bool: written by somebody and within the age bounds."""
    usable: npt.NDArray[np.bool_] = rows.fresh & (rows.version > 0)
    return usable


def _shares(edges: Neighbours, rows: Rows, n: int) -> tuple[Floats, Floats]:
    """Each edge's share in its vertex's mean, (m,), and 1 for vertices with any share, (n,)."""
    masked = edges.weight * _usable(rows)[edges.place]
    totals = np.bincount(edges.vertex, masked, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(totals[edges.vertex] > 0, masked / totals[edges.vertex], 0.0)
    return shares.astype(np.float32), (totals > 0).astype(np.float32)


def _neighbourhood(edges: Neighbours, values: Floats, share: Floats, n: int) -> tuple[Floats, float]:
    """The (n, dim) mean of each vertex's neighbours, and the sum over vertices of the mean
    squared distance of its neighbours from their mean."""
    near = values[edges.place]
    mean = np.zeros((n, values.shape[1]), np.float32)
    # Edges come vertex by vertex, so each vertex's are summed as one slice.
    starts = np.flatnonzero(np.diff(edges.vertex, prepend=-1))
    mean[edges.vertex[starts]] = np.add.reduceat(near * share[:, None], starts, axis=0)
    apart = np.square(near - mean[edges.vertex]).sum(axis=1)
    return mean, float(share @ apart)


def _require(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise InvalidValueError(message)
