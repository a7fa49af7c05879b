"""The settings of training runs on graphs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from carls.cli.demo.comparison.plan import Recipe


@dataclass(frozen=True, kw_only=True)
class GraphRecipe(Recipe):
    """Settings of one training run.

    Attributes:
        steps: training steps.
        hidden: width of the hidden layer.
        learning_rate: of Adam.
        cosine_decay: whether the learning rate falls to 0 along a cosine.
        weight_decay: of Adam.
        dropout: of the words or pixels and of the hidden layer.
        label_smoothing: of the cross entropy.
        labelled_batch: labelled vertices in a step; None: all of them.
        vertex_batch: vertices in a step that are compared with their neighbours.
        graph_weight: of the graph regulariser, on probabilities.
        ramp_steps: steps until it has its full weight.
        temperature: the probabilities p of the rows are p^(1/temperature), divided by their sum.
        anchored: whether the rows of labelled vertices say their labels, not what the model thinks.
        learned_share: of the neighbours' weight, for those that the maker finds by the hidden layer; 0:
            the given graph alone.
    """

    steps: int
    hidden: int
    learning_rate: float = 3e-3
    cosine_decay: bool = False
    weight_decay: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    labelled_batch: int | None = None
    vertex_batch: int = 128
    graph_weight: float = 0.0
    ramp_steps: int = 200
    temperature: float = 1.0
    anchored: bool = False
    learned_share: float = 0.0
    refresh_steps: int = 20


@dataclass(frozen=True)
class Chosen:
    """What was chosen for a problem.

    Attributes:
        with_graph: recipe of the cases with neighbours.
        without: recipe of the baseline.
        goal: accuracy in percent that the ways are compared at by time, besides a sweep of drift limits;
            None: neither, for a first demo that is short.
        fresh_temperature: of the case with a refresh at every step: what sharpens at every step
            drifts to one class.
        fresh_weight: its graph weight.
    """

    with_graph: GraphRecipe
    without: GraphRecipe
    goal: float | None = None
    fresh_temperature: float = 1.0
    fresh_weight: float | None = None

    @property
    def every_step(self) -> GraphRecipe:
        """Recipe of the case with a refresh at every step."""
        weight = self.with_graph.graph_weight if self.fresh_weight is None else self.fresh_weight
        return replace(
            self.with_graph, refresh_steps=1, temperature=self.fresh_temperature, graph_weight=weight
        )


#: Of the neighbours' weight, where the graph is learned.
LEARNED_SHARE = 0.5

# Chosen on validation data carved from the training part, or the split's own, never on test data; see
# docs/graphs.md. The settings with a graph and those without were chosen each for itself.
CHOSEN = {
    "digits": Chosen(
        GraphRecipe(steps=600, hidden=256, label_smoothing=0.1, graph_weight=10.0),
        GraphRecipe(steps=600, hidden=256),
    ),
    "cora, nsl": Chosen(
        GraphRecipe(
            steps=500,
            hidden=64,
            cosine_decay=True,
            weight_decay=1e-4,
            label_smoothing=0.1,
            labelled_batch=128,
            vertex_batch=256,
            graph_weight=3.0,
        ),
        GraphRecipe(steps=400, hidden=64, dropout=0.5, labelled_batch=128),
        goal=88.0,
    ),
    "cora, planetoid": Chosen(
        GraphRecipe(
            steps=300,
            hidden=64,
            weight_decay=5e-4,
            vertex_batch=512,
            graph_weight=10.0,
            ramp_steps=100,
            temperature=0.5,
            anchored=True,
        ),
        GraphRecipe(steps=60, hidden=64, weight_decay=5e-3, dropout=0.5),
        goal=74.0,
        fresh_weight=30.0,
    ),
}
