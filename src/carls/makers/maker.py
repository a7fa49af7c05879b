"""KnowledgeMaker: one method, from a checkpoint and keys to rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.client import Model
from carls.errors import InvalidSpecError
from carls.keys import Keys
from carls.specs import check_name


@dataclass(frozen=True, eq=False)
class Write:
    """Rows that a maker wants written. The table has to exist, with a fitting spec.

    Attributes:
        table: its name.
        keys: n keys, as for `carls.Keys.of`.
        values: for an embedding table (n, dim) float32; for a feature table a mapping from
            each of its columns to n values.

    Raises:
        InvalidSpecError: not the name of a table, or values of neither form.
    """

    table: str
    keys: Any
    values: Any

    def __post_init__(self) -> None:
        check_name("table", self.table)
        if not isinstance(self.values, Mapping | np.ndarray):
            raise InvalidSpecError(
                f"values of type {type(self.values).__name__} for table {self.table!r}: expected a numpy "
                "array (n, dim) for an embedding table or a mapping of columns for a feature table"
            )


class KnowledgeMaker(ABC):
    """Infers knowledge from a checkpoint. When and where it runs is the runner's business.

    A maker that is to run in a process of its own has to be picklable.

    Attributes:
        tables: names of the tables that it writes, as far as they are known before it has made anything; a
            runner asks the bank how old their rows are, and how much they are asked for.
    """

    tables: Sequence[str] = ()

    @abstractmethod
    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        """Make the rows of `keys`.

        Args:
            model: the newest checkpoint: `model.tensors` (name -> numpy array) and `model.step`,
                which the runner stamps on the rows.
            keys: a batch of the keys that the runner walks.

        Errors of the bank are the runner's business; any other exception stops the runner and
        is raised to its owner.
        """
