"""GraphRegularizer: a vertex's output is compared with what the bank knows of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from carls.client import EmbeddingTable, Rows
from carls.errors import InvalidSpecError, InvalidValueError
from carls.keys import Int64s, Keys
from carls.messages import Bools
from carls.torch.graph_forms import GraphForm, Neighbourhood
from carls.torch.neighbours import Neighbours
from carls.torch.transfer import to_device, to_host

_SPACES = ("probabilities", "logits")
_ROWS = ("made", "trained")


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
    """Compares the outputs of vertices with their neighbours' rows in a bank.

    For a batch of n vertices with outputs f_i, neighbours j in N(i) with rows r_j and edge
    weights w_ij,

        loss = weight * ramp(step) / n * sum_i  form_i,    by default
        form_i = sum_j m_j w_ij |f_i - r_j|^2 / sum_j m_j w_ij

    where m_j is 1 for rows that were written and are within the age bounds, else 0, a vertex
    without such neighbours adds 0, and ramp(step) = min(1, step / ramp_steps). The trainer never
    computes a neighbour's output.

    The rows are "made" by a maker, from an earlier checkpoint: then no gradient goes to them. Or they
    are "trained": the loss's gradient by each row is pushed in the backward pass, and the table's
    optimizer applies it. Then training creates rows that are missing, a row counts from its creation
    on, and rows that are left out get nothing. A scaled loss pushes scaled gradients.

    Graph regularisation: T. D. Bui, S. Ravi, V. Ramavajjala, "Neural Graph Learning: Training
    Neural Networks Using Graphs", WSDM 2018. Neighbours from a knowledge bank: C.-T. Lu et
    al., "CARLS: Cross-platform Asynchronous Representation Learning System", arXiv 2105.12849.

    Args:
        vertices: embedding table with a row for each vertex, as wide as the outputs.
        form: a `GraphForm` or its name: `SquaredDistance()`, `Contrastive(temperature=0.5)`.
        rows: "made" or "trained".
        on: "probabilities": rows hold probabilities and the outputs go through a softmax
            first; "logits": both are compared as they are.
        weight: of the loss, at least 0.
        ramp_steps: the loss grows linearly over so many steps; 0: full from the start.
        max_neighbours: only so many from the start of each list; None: all.
        max_age_steps: rows made more than so many steps before `step` are left out; None: no bound.
        max_age_s: rows written more than so many seconds ago are left out; None: no bound.

    Attributes:
        last_read: `NeighbourRead` of the last `forward`, None before.

    Raises:
        InvalidSpecError: rows to be trained in a table without an optimizer; an unknown form.
        InvalidValueError: another argument that cannot be.
    """

    def __init__(
        self,
        vertices: EmbeddingTable,
        *,
        form: GraphForm | str = "squared_distance",
        rows: str = "made",
        on: str = "probabilities",
        weight: float = 1.0,
        ramp_steps: int = 0,
        max_neighbours: int | None = None,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
    ) -> None:
        super().__init__()
        _require(rows in _ROWS, f"rows={rows!r}: expected one of {_ROWS}")
        _require(on in _SPACES, f"on={on!r}: expected one of {_SPACES}")
        _require(np.isfinite(weight) and weight >= 0, f"weight={weight!r}: expected a finite number >= 0")
        _require(ramp_steps >= 0, f"ramp_steps={ramp_steps!r}: expected an integer >= 0")
        _require(
            max_neighbours is None or max_neighbours > 0,
            f"max_neighbours={max_neighbours!r}: expected an integer > 0, or None for all",
        )
        if rows == "trained" and vertices.spec.optimizer is None:
            raise InvalidSpecError(
                f"rows='trained', and table {vertices.name!r} has no optimizer: open it with "
                "optimizer=carls.Adagrad(lr=...), or take rows='made'",
                table=vertices.name,
            )
        self.vertices = vertices
        self.form = GraphForm.of(form)
        self.rows = rows
        self.on = on
        self.weight = weight
        self.ramp_steps = ramp_steps
        self.max_neighbours = max_neighbours
        self.max_age_steps = max_age_steps
        self.max_age_s = max_age_s
        self.last_read: NeighbourRead | None = None

    def forward(
        self, outputs: torch.Tensor, neighbours: Any, weights: Any = None, *, step: int, keys: Any = None
    ) -> torch.Tensor:
        """The loss, a float32 scalar on the outputs' device.

        Args:
            outputs: (n, dim) logits of n vertices.
            neighbours: their neighbours' keys: `carls.Ragged` from a feature table, an (n, k)
                array or tensor, or n lists of any lengths. Or what `prefetch` gave for them, which
                saves encoding them again; then `weights` and `keys` are those given there.
            weights: edge weights >= 0 in the same form; None: all 1.
            step: the trainer's step, for the ramp, the age bound, the staleness and pushes.
            keys: n keys of the vertices themselves; only the contrastive form needs them.

        Raises:
            InvalidValueError: outputs of another width than the table, lists that do not fit, or
                no keys for a form that needs them.
        """
        if outputs.ndim != 2 or outputs.shape[1] != self.vertices.dim:
            raise InvalidValueError(
                f"outputs of shape {tuple(outputs.shape)}: expected (n, {self.vertices.dim}), "
                f"the width of table {self.vertices.name!r}"
            )
        edges = self._edges(neighbours, weights, len(outputs), keys)
        if edges.distinct is None:
            self.last_read = NeighbourRead(np.zeros(0, np.int64), 0.0)
            return outputs[:0].float().sum()  # 0 that can be trained on
        rows = self.vertices.lookup(edges.distinct, **self._reading(step))
        usable = self._usable(rows)
        self._tell(edges, rows, usable, step)
        values = to_device(rows.values, outputs.device).float()
        if self._trains():
            values.requires_grad_()
            distinct = edges.distinct
            values.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: self._push(distinct, gradient, usable, step)
            )
        # In float32 also within autocast: differences of squares in half precision are noise.
        with torch.autocast(outputs.device.type, enabled=False):
            seeds = torch.softmax(outputs.float(), dim=1) if self.on == "probabilities" else outputs.float()
            total = self.form.total(seeds, Neighbourhood.of(edges, values, usable))
        return total * (self.weight * self._ramp(step) / len(outputs))

    def prefetch(self, neighbours: Any, weights: Any = None, *, step: int, keys: Any = None) -> Neighbours:
        """Start the look-up for the `forward` that will get these neighbours and this step.

        Args: as for `forward`, which may get the result in place of the three.
        """
        edges = self._edges(neighbours, weights, len(neighbours), keys)
        if edges.distinct is not None:
            self.vertices.prefetch(edges.distinct, **self._reading(step))
        return edges

    def extra_repr(self) -> str:
        return (
            f"vertices={self.vertices.name!r}, form={self.form}, rows={self.rows!r}, on={self.on!r}, "
            f"weight={self.weight}, ramp_steps={self.ramp_steps}, max_neighbours={self.max_neighbours}"
        )

    def _edges(self, neighbours: Any, weights: Any, n: int, keys: Any) -> Neighbours:
        if isinstance(neighbours, Neighbours):
            if weights is not None or keys is not None or neighbours.vertices != n:
                raise InvalidValueError(
                    f"neighbours of {neighbours.vertices} vertices from prefetch, for outputs of {n}: "
                    "expected as many, and weights and keys given to prefetch alone"
                )
            return neighbours
        if keys is None and self.form.needs_keys:
            raise InvalidValueError(f"form {self.form.name!r}: expected keys=, the vertices' own, as well")
        return Neighbours.of(neighbours, weights, n, self.max_neighbours, keys)

    def _trains(self) -> bool:
        return self.rows == "trained" and self.training and torch.is_grad_enabled()

    def _usable(self, rows: Rows) -> Bools:
        """(rows,) bool: somebody wrote it, or it is there to be trained; and within the age bounds."""
        written: Bools = rows.version > 0
        # A row that nobody has pushed to yet has no age; left out for that it would never get any.
        return rows.fresh | (rows.found & ~written) if self.rows == "trained" else rows.fresh & written

    def _tell(self, edges: Neighbours, rows: Rows, usable: Bools, step: int) -> None:
        used = usable[edges.place]
        steps = rows.step[edges.place][used]
        self.last_read = NeighbourRead(step - steps[steps >= 0], float(1.0 - used.mean()))

    def _push(self, keys: Keys, gradient: torch.Tensor, usable: Bools, step: int) -> None:
        # Rows left out have no gradient; pushing zeros would make them look new.
        chosen = np.flatnonzero(usable)
        if len(chosen):
            self.vertices.push_gradients_async(keys.take(chosen), to_host(gradient)[chosen], step=step)

    def _reading(self, step: int) -> dict[str, Any]:
        return {
            "create": self._trains(),
            "at_step": step,
            "max_age_steps": self.max_age_steps,
            "max_age_s": self.max_age_s,
        }

    def _ramp(self, step: int) -> float:
        return 1.0 if self.ramp_steps == 0 else min(1.0, max(0.0, step / self.ramp_steps))


def _require(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise InvalidValueError(message)
