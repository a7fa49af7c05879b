"""What the trainer of the demos knows of its vertices' neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.comparison.knowledge import Knowledge
from carls.cli.demo.comparison.plan import Way
from carls.cli.demo.comparison.refreshers import Making
from carls.cli.demo.graphs.maker import Together, Vertices
from carls.cli.demo.graphs.problem import Problem
from carls.cli.demo.graphs.recipe import GraphRecipe
from carls.client import Bank, EmbeddingTable, FeatureTable, Model, Ragged
from carls.graphs import neighbour_columns
from carls.keys import Keys
from carls.makers import GraphMaker, KnowledgeMaker, VertexEmbeddingMaker
from carls.torch import GraphRegularizer
from carls.torch.neighbours import Neighbours

#: Vertices given to a maker at a time: all of them.
MAKER_BATCH = 4096
#: Neighbours that a maker looks for.
LEARNED_NEIGHBOURS = 5

Batch = npt.NDArray[np.int64]


class GraphKnowledge(Knowledge):
    """Neighbours and their outputs in a bank, and the loss that compares vertices with them.

    Attributes:
        regularizer: reads the outputs.
    """

    def __init__(self, way: Way, bank: Bank, table: str, problem: Problem, recipe: GraphRecipe) -> None:
        anchors = problem.known_labels if recipe.anchored else np.full(len(problem.features), -1)
        vertices = Vertices(problem.features, anchors, recipe.temperature, way.threads)
        outputs = bank.embeddings(table, dim=problem.classes, keys="int64")
        given = bank.features(f"{table}.given", neighbour_columns(), keys="int64")
        given.assign(problem.keys, problem.neighbours.columns)
        made: list[EmbeddingTable | FeatureTable] = [outputs]
        makers: list[KnowledgeMaker] = [VertexEmbeddingMaker(outputs, vertices.outputs)]
        self._graph = given
        if recipe.learned_share > 0:
            hidden = bank.embeddings(f"{table}.hidden", dim=recipe.hidden, keys="int64")
            self._graph = bank.features(f"{table}.graph", neighbour_columns(), keys="int64")
            finder = GraphMaker(
                hidden, self._graph, k=LEARNED_NEIGHBOURS, given=given, learned_share=recipe.learned_share
            )
            makers += [VertexEmbeddingMaker(hidden, vertices.hidden), finder]
            made += [hidden, self._graph]
        self.regularizer = GraphRegularizer(outputs, weight=recipe.graph_weight, ramp_steps=recipe.ramp_steps)
        # A graph that nobody changes is read once.
        self._read = None if recipe.learned_share > 0 else given.lookup(problem.keys)
        # Who refreshes at every step without a bank computes the neighbours of the batch, and no more.
        self._of_batch = (
            makers[0] if way is Way.INSIDE and recipe.refresh_steps == 1 and len(makers) == 1 else None
        )
        self._outputs = outputs
        self._now: Neighbours | None = None
        self._following: Neighbours | None = None
        making = Making(Together(makers), problem.keys, MAKER_BATCH, made)
        super().__init__(way, recipe, making, [given] if given not in made else [])

    def before_step(self, model: torch.nn.Module, step: int, now: Batch, following: Batch) -> None:
        """Prepare a step on the vertices `now`; those of the next step are `following`."""
        if self._of_batch is not None:
            # Nothing is fetched ahead: the rows are those that are computed now.
            self._now = Neighbours.of(*self._lists(now), len(now), None)
            if self._now.distinct is not None:
                self._compute(self._of_batch, model, self._now.distinct, step)
            return
        self.refresh(model, step)
        self._now = self._prefetch(now, step) if self._following is None else self._following
        self._following = self._prefetch(following, step + 1)

    def penalty(self, outputs: torch.Tensor, step: int) -> torch.Tensor:
        """The graph loss of the step's vertices, whose outputs (n, classes) the trainer has computed."""
        loss: torch.Tensor = self.regularizer(outputs, self._now, step=step)
        return loss

    def _prefetch(self, vertices: Batch, step: int) -> Neighbours:
        return self.regularizer.prefetch(*self._lists(vertices), step=step)

    def _lists(self, vertices: Batch) -> tuple[Ragged, Ragged]:
        """The vertices' neighbours and the weights of the edges to them."""
        if self._read is None:
            rows = self._graph.lookup(vertices)
            return rows["neighbours"], rows["weights"]
        return self._read["neighbours"].take(vertices), self._read["weights"].take(vertices)

    def _compute(self, maker: KnowledgeMaker, model: torch.nn.Module, keys: Keys, step: int) -> None:
        tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        for write in maker.make(Model(self._outputs.name, step, step, 0.0, "", tensors), keys):
            self._outputs.assign(write.keys, write.values, step=step)
