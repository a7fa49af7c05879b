"""Who sees to the rows of a run: a maker beside the trainer, or the trainer itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.comparison.plan import Recipe, Way
from carls.client import DriftLimit, EmbeddingTable, FeatureTable, Model
from carls.keys import Keys
from carls.makers import KnowledgeMaker, MakerProcess

#: Longest wait for a maker to answer a checkpoint, in seconds.
MAKER_S = 30.0


@dataclass(frozen=True, eq=False)
class Making:
    """What is to be made.

    Attributes:
        maker: writes the rows.
        keys: (n,) what it walks.
        batch_size: keys given to it at a time.
        tables: what it writes to, all in one bank; the first one's name is also that of the checkpoints.
    """

    maker: KnowledgeMaker
    keys: npt.NDArray[np.int64]
    batch_size: int
    tables: Sequence[EmbeddingTable | FeatureTable]


class Refresher(ABC):
    """Sees to the rows of all keys from the model as it is.

    Attributes:
        waited_s: seconds that the trainer has waited for a maker.
        pid: process id of the maker; None where it works inside the trainer.
    """

    pid: int | None = None

    def __init__(self) -> None:
        self.waited_s = 0.0

    @staticmethod
    def of(way: Way, making: Making, recipe: Recipe) -> Refresher:
        """The refresher of a way that has a maker."""
        return BesideTrainer(making, recipe) if way is Way.BANK else InsideTrainer(making)

    @abstractmethod
    def refresh(self, model: torch.nn.Module, step: int) -> None:
        """See to rows from the model as it is."""

    def close(self) -> None:  # noqa: B027 - what works inside the trainer has nothing to close
        """Stop the maker."""


class BesideTrainer(Refresher):
    """Publishes checkpoints for a maker in a process of its own; waits where its rows are too old."""

    def __init__(self, making: Making, recipe: Recipe) -> None:
        super().__init__()
        self._name = making.tables[0].name
        self._bank = making.tables[0].bank
        drift = recipe.drift_checkpoints
        steps = None if drift is None else drift * recipe.refresh_steps
        self._limits = [DriftLimit(table, steps, timeout_s=MAKER_S) for table in making.tables]
        self._process = MakerProcess(
            self._bank.url, making.maker, model=self._name, keys=making.keys, batch_size=making.batch_size
        )
        self._process.start()
        self.pid = self._process.pid

    def refresh(self, model: torch.nn.Module, step: int) -> None:
        self._bank.models.publish(self._name, model.state_dict(), step=step)
        self.waited_s += sum(limit.wait(step) for limit in self._limits)

    def close(self) -> None:
        self._process.stop()


class InsideTrainer(Refresher):
    """Lets the maker work inside the trainer, which stands still meanwhile."""

    def __init__(self, making: Making) -> None:
        super().__init__()
        self._making = making
        self._tables = {table.name: table for table in making.tables}

    def refresh(self, model: torch.nn.Module, step: int) -> None:
        tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        checkpoint = Model(self._making.tables[0].name, step, step, 0.0, "", tensors)
        keys, batch_size = self._making.keys, self._making.batch_size
        for start in range(0, len(keys), batch_size):
            for write in self._making.maker.make(checkpoint, Keys.of(keys[start : start + batch_size])):
                self._tables[write.table].assign(write.keys, write.values, step=step)
