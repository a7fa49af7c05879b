"""Compared: with which of the bank's rows the examples of a batch are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from carls.keys import Int64s
from carls.torch.items import Items
from carls.torch.negatives import Negatives
from carls.torch.stored_scores import stored_logsumexp
from carls.torch.stored_sides import OUT, StoredSide
from carls.torch.transfer import to_device


@dataclass(frozen=True, eq=False)
class Compared:
    """What the examples of a batch are compared with, in both directions, on the device.

    Attributes:
        own: (n,) int64 places of the examples' rows; 0 for those that are no items.
        columns: (c,) int64 places of the rows to compare with; None: all.
        left_out: (m,) int64 examples and (m,) int64 columns of the pairs that are the same thing.
        negatives: which of the columns count for a query, by their scores.
    """

    own: torch.Tensor
    columns: torch.Tensor | None
    left_out: tuple[torch.Tensor, torch.Tensor]
    negatives: Negatives

    @staticmethod
    def of(places: Int64s, items: Items, negatives: Negatives, step: int, device: torch.device) -> Compared:
        """For examples at `places` (n,) among the items, -1 for others."""
        chosen = negatives.rows(len(items.keys), step)
        example, column = items.same(places, chosen)
        return Compared(
            own=to_device(np.maximum(places, 0), device),
            columns=None if chosen is None else to_device(chosen, device),
            left_out=(to_device(example, device), to_device(column, device)),
            negatives=negatives,
        )

    def losses(
        self, query: torch.Tensor, side: StoredSide, positives: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(n,) losses of the queries against a side's rows; of those without a row of their own, of no use.

        Args:
            query: (n, dim), over T.
            side: the other tower's rows.
            positives: (n, dim) in place of the examples' own rows; None: those rows.
        """
        own = side.rows[self.own] if positives is None else positives
        positive = (query * own).sum(dim=1)
        rows, offsets = side.rows, side.offsets
        if self.columns is not None:
            rows, offsets = rows[self.columns], None if offsets is None else offsets[self.columns]
        others = stored_logsumexp(query, rows, offsets, self.left_out, OUT, self.negatives)
        return functional.softplus(others - positive)
