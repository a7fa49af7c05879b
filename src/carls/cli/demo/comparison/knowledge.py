"""Knowledge: the tables of one run, and who sees to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from carls.cli.demo.comparison.plan import Recipe, Way
from carls.cli.demo.comparison.refreshers import Making, Refresher
from carls.client import EmbeddingTable, FeatureTable


class Knowledge:
    """Base of what trainers know from makers. It is its owner's to close.

    Args:
        way: whether the maker works beside the trainer or inside it.
        recipe: when checkpoints are made, and how old rows may be then.
        making: what is made in the course of the run.
        given: tables of this run that nobody makes.
    """

    def __init__(
        self,
        way: Way,
        recipe: Recipe,
        making: Making,
        given: Sequence[EmbeddingTable | FeatureTable] = (),
    ) -> None:
        self._tables = (*making.tables, *given)
        self._refresh_steps = recipe.refresh_steps
        self._refresher = Refresher.of(way, making, recipe)

    @property
    def waited_s(self) -> float:
        """Seconds that the trainer has waited for the maker."""
        return self._refresher.waited_s

    @property
    def maker_pid(self) -> int | None:
        """Process id of the maker; None where it works inside the trainer."""
        return self._refresher.pid

    def refresh(self, model: torch.nn.Module, step: int) -> None:
        """See to rows from the model as it is, where a checkpoint is due at this step."""
        if self.due(step):
            self._refresher.refresh(model, step)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is made at this step: every `refresh_steps`, from the first on."""
        return step % self._refresh_steps == 0

    def close(self) -> None:
        """Stop the maker, drop the tables and close their handles."""
        try:
            self._refresher.close()
        finally:
            for table in self._tables:
                table.close()
                table.bank.drop(table.name)
