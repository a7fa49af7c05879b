"""GraphMaker: the graph of what lies near what in an embedding table, learned while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from carls.client import EmbeddingTable, FeatureTable, Model, Ragged
from carls.errors import InvalidRequestError
from carls.graphs import NeighbourLists, neighbour_columns
from carls.keys import Int64s, Keys, concat
from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.vertices import require_embeddings
from carls.specs import check_metric


class GraphMaker(KnowledgeMaker):
    """Writes each vertex's nearest neighbours, by the embeddings that are in the bank now.

    For a vertex i with the k other vertices j of the highest similarity s_ij, the weights are

        w_ij = exp(s_ij / temperature) / sum_l exp(s_il / temperature)

    where s is the metric, or minus it for "squared_l2". With a `given` graph of weights g_ij the two are
    mixed:

        learned_share * w_ij + (1 - learned_share) * g_ij / sum_l g_il

    over the neighbours in either, and a vertex that has only one of the two gets that. A vertex with
    neither gets no row. Edges are directed: i may be near j while j has nearer ones.

    Another maker writes the embeddings, such as `VertexEmbeddingMaker` with a hidden layer. The two do not
    wait for each other: a row says the checkpoint at which the neighbours were looked for, and their
    embeddings may be of the one before. Graphs from the embeddings of the model in training: Y. Chen, L. Wu,
    M. Zaki, "Iterative Deep Graph Learning for Graph Neural Networks", NeurIPS 2020.

    Args:
        vertices: embedding table; all its rows are candidates, written or not.
        graph: feature table with just the columns of `carls.graphs.neighbour_columns(keys)`.
        k: neighbours of a vertex, at least 1.
        metric: as for `EmbeddingTable.nearest`: "cosine", "dot" or "squared_l2".
        temperature: above 0; the lower, the more weight for the nearest.
        given: feature table of the same columns, with the graph that is known; None: there is none.
        learned_share: of the weight, 0 to 1; 1 without a given graph.

    Raises:
        InvalidRequestError: an argument that cannot be.
    """

    def __init__(
        self,
        vertices: EmbeddingTable,
        graph: FeatureTable,
        *,
        k: int = 10,
        metric: str = "cosine",
        temperature: float = 0.1,
        given: FeatureTable | None = None,
        learned_share: float = 0.5,
    ) -> None:
        require_embeddings("GraphMaker", vertices)
        for table in (graph,) if given is None else (graph, given):
            _require_neighbours(table)
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InvalidRequestError(f"GraphMaker(k={k!r}): expected an integer >= 1")
        if not (np.isfinite(temperature) and temperature > 0):
            raise InvalidRequestError(f"GraphMaker(temperature={temperature!r}): expected a number above 0")
        if not 0 <= learned_share <= 1:
            raise InvalidRequestError(
                f"GraphMaker(learned_share={learned_share!r}): expected a number from 0 to 1"
            )
        self.tables = (graph.name,)
        self.vertices = vertices
        self.graph = graph
        self.k = int(k)
        self.metric = check_metric(metric)
        self.temperature = float(temperature)
        self.given = given
        self.learned_share = float(learned_share)

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:  # noqa: ARG002 - the bank has it all
        edges = self._nearest(keys)
        if self.given is not None:
            edges = _mixed(edges, self._given(self.given, keys), self.learned_share, len(keys))
        if edges.neighbours is None:
            return []
        # Only vertices with an edge: the others keep what they had.
        vertices, vertex = np.unique(edges.vertex, return_inverse=True)
        distinct, place = edges.neighbours.unique()
        lists = NeighbourLists.heaviest(keys.take(vertices), vertex, place, edges.weight, distinct, None)
        return [Write(self.graph.name, lists.keys, lists.columns)]

    def _nearest(self, keys: Keys) -> _Edges:
        rows = self.vertices.lookup(keys, create=False)
        known = np.flatnonzero(rows.found & (rows.version > 0))
        if len(known) == 0:
            return _NO_EDGES
        own = keys.take(known)
        found = self.vertices.nearest(
            np.asarray(rows.values[known], np.float32),
            k=self.k,
            metric=self.metric,
            exclude=[own[i : i + 1] for i in range(len(own))],
        )
        if len(found.keys) == 0:
            return _NO_EDGES
        near = found.scores.astype(np.float64)
        if self.metric == "squared_l2":
            near = -near
        # Behind the rows found are scores of minus infinity, which get no weight.
        odds = np.exp((near - near[:, :1]) / self.temperature)
        weight = odds / odds.sum(axis=1, keepdims=True)
        there = np.arange(self.k) < found.counts[:, None]
        return _Edges(np.repeat(known, found.counts), found.keys, weight[there])

    def _given(self, table: FeatureTable, keys: Keys) -> _Edges:
        rows = table.lookup(keys)
        lists: Ragged = rows["neighbours"]
        if len(lists.values) == 0:
            return _NO_EDGES
        weight = np.asarray(rows["weights"].values, np.float64)
        vertex = np.repeat(np.arange(len(keys)), lists.lengths)
        total = np.bincount(vertex, weight, minlength=len(keys))
        kept = total[vertex] > 0
        if not kept.any():
            return _NO_EDGES
        near = Keys.of(lists.values).take(np.flatnonzero(kept))
        return _Edges(vertex[kept], near, (weight / np.where(total > 0, total, 1)[vertex])[kept])


class _Edges(NamedTuple):
    """Edges of a batch: the vertex's place in it, the neighbour, the weight (1 in all for each vertex)."""

    vertex: Int64s
    neighbours: Keys | None
    weight: npt.NDArray[np.float64]


_NO_EDGES = _Edges(np.zeros(0, np.int64), None, np.zeros(0))


def _mixed(learned: _Edges, given: _Edges, share: float, n: int) -> _Edges:
    """Both, weighted; an edge that is in both has the sum of its weights."""
    if learned.neighbours is None or given.neighbours is None:
        return given if learned.neighbours is None else learned
    has_learned = np.bincount(learned.vertex, minlength=n) > 0
    has_given = np.bincount(given.vertex, minlength=n) > 0
    of_learned = np.where(has_given, share, 1.0)[learned.vertex] * learned.weight
    of_given = np.where(has_learned, 1.0 - share, 1.0)[given.vertex] * given.weight
    distinct, place = concat([learned.neighbours, given.neighbours]).unique()
    codes = np.concatenate([learned.vertex, given.vertex]) * len(distinct) + place
    edges, inverse = np.unique(codes, return_inverse=True)
    weight = np.bincount(inverse, np.concatenate([of_learned, of_given])).astype(np.float64)
    vertex, place = np.divmod(edges, len(distinct))
    kept = weight > 0
    return _Edges(vertex[kept], distinct.take(place[kept]), weight[kept])


def _require_neighbours(table: Any) -> None:
    if not isinstance(table, FeatureTable):
        raise InvalidRequestError(
            f"GraphMaker: {table!r:.80} is not a feature table: expected a handle as bank.features(...) "
            "gives it"
        )
    has = dict(table.spec.columns)
    if has not in (neighbour_columns("int64"), neighbour_columns("string")):
        raise InvalidRequestError(
            f"GraphMaker: table {table.name!r} has the columns {has}: expected those of "
            "carls.graphs.neighbour_columns('int64'), or of 'string' where keys are strings",
            table=table.name,
        )
