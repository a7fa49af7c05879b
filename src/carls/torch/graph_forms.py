"""Graph forms: what a graph regularizer makes of outputs and their neighbours' rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from carls.messages import Bools, Floats
from carls.specs.policies import Policy, resolve
from carls.torch.neighbours import Neighbours
from carls.torch.transfer import to_device


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """What is known of the neighbours of n vertices: k distinct rows, some of them usable.

    Attributes:
        edges: who is whose neighbour.
        rows: (k, dim) float32; only the usable ones mean something.
        usable: (k,) bool.
        share: (m,) float32, each edge's share in its vertex: m_j w_ij / sum_j m_j w_ij, or 0.
        known: (n,) bool: vertices with any share.
    """

    edges: Neighbours
    rows: torch.Tensor
    usable: Bools
    share: Floats
    known: Bools

    @staticmethod
    def of(edges: Neighbours, rows: torch.Tensor, usable: Bools) -> Neighbourhood:
        """With the shares that the usable rows give."""
        masked = edges.weight * usable[edges.place]
        totals = np.bincount(edges.vertex, masked, minlength=edges.vertices)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(totals[edges.vertex] > 0, masked / totals[edges.vertex], 0.0)
        return Neighbourhood(edges, rows, usable, share.astype(np.float32), totals > 0)

    def means(self) -> torch.Tensor:
        """(n, dim) float32: the mean of each vertex's neighbours, by their shares; 0 where none is known."""
        edges, device = self.edges, self.rows.device
        ends = np.cumsum(np.bincount(edges.vertex, minlength=edges.vertices))
        means: torch.Tensor = functional.embedding_bag(
            to_device(edges.place, device),
            self.rows,
            to_device(np.concatenate([[0], ends]), device),
            mode="sum",
            per_sample_weights=to_device(self.share, device),
            include_last_offset=True,
        )
        return means


@dataclass(frozen=True)
class GraphForm(Policy):
    """Base of the forms."""

    home: ClassVar[str] = "carls.torch"
    #: Whether it has to know which row is a vertex's own.
    needs_keys: ClassVar[bool]

    @staticmethod
    def of(value: Any) -> GraphForm:
        """The form itself, or the one named or described by `value`."""
        return resolve(value, GraphForm, _CHOICES)  # type: ignore[type-abstract]

    @abstractmethod
    def total(self, outputs: torch.Tensor, near: Neighbourhood) -> torch.Tensor:
        """Sum of the losses of n vertices, 0 for those whose neighbours are not known.

        Args:
            outputs: (n, dim) float32.
            near: their neighbours, on the same device.
        """


@dataclass(frozen=True)
class SquaredDistance(GraphForm):
    """sum_j s_ij |f_i - r_j|^2: a vertex is drawn to its neighbours, s_ij being their shares.

    T. D. Bui, S. Ravi, V. Ramavajjala, "Neural Graph Learning: Training Neural Networks Using Graphs",
    WSDM 2018. With the mean r of a vertex's neighbours it is |f_i - r|^2 + sum_j s_ij |r_j|^2 - |r|^2, so
    no array grows with both the edges and the width.
    """

    name: ClassVar[str] = "squared_distance"
    needs_keys: ClassVar[bool] = False

    def total(self, outputs: torch.Tensor, near: Neighbourhood) -> torch.Tensor:
        rows, means = near.rows, near.means()
        known = to_device(near.known, outputs.device)
        parts = np.bincount(near.edges.place, near.share, minlength=len(rows)).astype(np.float32)
        spread = to_device(parts, rows.device) @ rows.square().sum(dim=1) - means.square().sum()
        return ((outputs - means).square().sum(dim=1) * known).sum() + spread


@dataclass(frozen=True)
class Contrastive(GraphForm):
    """A vertex is to be more like its neighbours than like the other vertices' neighbours.

    With the cosine c_ij of f_i and r_j, and the rows k of the batch that are usable and neither a neighbour
    of i nor i itself,

        -log( P / (P + sum_k exp(c_ik / temperature)) ),   P = sum_j s_ij exp(c_ij / temperature)

    The contrastive loss of A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive
    Predictive Coding", arXiv 1807.03748, with a vertex's neighbours as positives, weighted as by Y. Hu et
    al., "Graph-MLP: Node Classification without Message Passing in Graph", arXiv 2106.04051. Compared with
    every distinct row of the batch, in a matrix of n x k numbers. A vertex without any row to be told apart
    from adds 0.

    Attributes:
        temperature: above 0.
    """

    name: ClassVar[str] = "contrastive"
    needs_keys: ClassVar[bool] = True
    temperature: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.temperature > 0, "temperature", "a number above 0")

    def total(self, outputs: torch.Tensor, near: Neighbourhood) -> torch.Tensor:
        edges, device = near.edges, outputs.device
        cosines = functional.normalize(outputs) @ functional.normalize(near.rows).T / self.temperature
        shares = np.zeros(cosines.shape, np.float32)
        np.add.at(shares, (edges.vertex, edges.place), near.share)
        others = np.tile(near.usable, (len(shares), 1))
        others[edges.vertex, edges.place] = False
        others[np.arange(len(shares)), edges.own] &= edges.own < 0
        # Vertices that have no positives or no others are left out: their logarithms are infinite.
        counted = np.flatnonzero(near.known & others.any(axis=1))
        if len(counted) == 0:
            return outputs[:0].sum()
        chosen = cosines[to_device(counted, device)]
        positive = torch.logsumexp(chosen + to_device(shares[counted], device).log(), dim=1)
        negative = torch.logsumexp(
            chosen.masked_fill(~to_device(others[counted], device), float("-inf")), dim=1
        )
        return functional.softplus(negative - positive).sum()


_CHOICES: dict[str, type[GraphForm]] = {policy.name: policy for policy in (SquaredDistance, Contrastive)}
