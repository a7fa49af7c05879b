"""The classes that a sampled loss compares: positives and what a bank drew beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carls.client import Samples
from carls.keys import Int64s, Keys
from carls.messages import Floats, Vectors
from carls.torch.bags import Bags


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct rows, and who of b examples compares which of them.

    Attributes:
        keys: of the k distinct rows.
        values: (k, dim), of the table's dtype.
        positive_place: (m,) int64, the row of each positive of the bags.
        positive_log_count: (m,) float32, log of how often the strategy is expected to give it.
        sampled_place: (c, s) int64, the rows of the sampled; c is 1 where all examples share them, else b.
        sampled_log_count: (c, s) float32, as for the positives.
    """

    keys: Keys
    values: Vectors
    positive_place: Int64s
    positive_log_count: Floats
    sampled_place: Int64s
    sampled_log_count: Floats

    @staticmethod
    def of(samples: Samples, bags: Bags, shared: bool) -> Candidates:
        """Take a draw apart.

        Args:
            samples: drawn with the positives of `bags` in front: with all distinct ones in one
                context where they are shared, else with those of each bag in a context of its own.
        """
        contexts, width = samples.shape
        keys, inverse = samples.keys.unique()
        place = inverse.reshape(contexts, width)
        first = np.full(len(keys), contexts * width)
        np.minimum.at(first, inverse, np.arange(contexts * width))
        log_count = np.log(samples.expected_count)
        at = (np.zeros_like(bags.place), bags.place) if shared else (bags.owner, bags.rank)
        front = len(bags.distinct or ()) if shared else 0
        return Candidates(
            keys=keys,
            values=samples.values.reshape(contexts * width, -1)[first],
            positive_place=place[at],
            positive_log_count=log_count[at],
            sampled_place=place[:, front:],
            sampled_log_count=log_count[:, front:],
        )

    def with_batch(self) -> Candidates:
        """The positives of all examples among the sampled, as so many draws more of the strategy."""
        drawn, more = self.sampled_place.shape[1], len(self.positive_place)
        grown = np.float32(np.log((drawn + more) / drawn))
        positive = self.positive_log_count + grown
        return replace(
            self,
            positive_log_count=positive,
            sampled_place=np.concatenate([self.sampled_place, self.positive_place[None]], axis=1),
            sampled_log_count=np.concatenate([self.sampled_log_count + grown, positive[None]], axis=1),
        )

    def hits(self, bags: Bags) -> npt.NDArray[np.bool_]:
        """(b, s) bool: which of the sampled are among the example's own positives."""
        sampled = self.sampled_place if len(self.sampled_place) == 1 else self.sampled_place[bags.owner]
        which, column = np.nonzero(sampled == self.positive_place[:, None])
        hits = np.zeros((bags.count, self.sampled_place.shape[1]), bool)
        hits[bags.owner[which], column] = True
        return hits
