"""LabelQualityMaker: how far the label that an example was given can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from carls.client import FeatureTable, Model
from carls.errors import InvalidValueError
from carls.keys import Int64s, Keys
from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.predictions import Predict, averaged, predicted, require_columns, require_decay


class LabelQualityMaker(KnowledgeMaker):
    """Writes how well each example's given label agrees with what checkpoints predict.

    For an example with the given label y and the probabilities p_1 ... p_k of checkpoints 1 ... k:

    * `given`: y. A row about another label than the example has now starts anew.
    * `probability`: of y, averaged: sum_j decay^(k-j) p_j[y] / sum_j decay^(k-j). Networks learn
      the right labels first and memorise the wrong ones late (D. Arpit et al., "A Closer Look at
      Memorization in Deep Networks", ICML 2017), so it is lower for wrong ones.
    * `agreement`: the same average of 1 where p_j is highest for y, else 0: in which share of
      checkpoints y is what the model predicts. Averages over checkpoints for this purpose: D. T. Nguyen et
      al., "SELF: Learning to Filter Noisy Labels with Self-Ensembling", ICLR 2020.
    * `forgotten`: how many checkpoints did not predict y where the one before them did: forgetting
      events, acc_j > acc_(j+1) in M. Toneva et al., "An Empirical Study of Example Forgetting during Deep
      Neural Network Learning", ICLR 2019. They count when an example comes up in a batch, we at each
      checkpoint that the maker sees.
    * `agrees`: whether checkpoint k predicts y. `checkpoints`: k.

    All that it needs of the past is in the rows, so a maker that takes over goes on from them. A
    checkpoint counts once: rows of its step are written again as they are.

    Args:
        quality: feature table with the columns `LabelQualityMaker.QUALITY`.
        predict: gives (n, classes) probabilities for a checkpoint and n keys. Picklable, and the
            table that of a server, where the maker is to run in a process of its own.
        given: gives the (n,) integer labels of n keys, from 0. Picklable likewise.
        decay: of the averages, a checkpoint; 0 to below 1. 0: the newest checkpoint alone.

    Raises:
        InvalidRequestError: an argument that cannot be.
    """

    QUALITY: ClassVar[Mapping[str, str]] = {
        "given": "int32",
        "probability": "float32",
        "agreement": "float32",
        "forgotten": "int32",
        "agrees": "bool",
        "checkpoints": "int32",
    }

    def __init__(
        self,
        quality: FeatureTable,
        predict: Predict,
        given: Callable[[Keys], Any],
        *,
        decay: float = 0.9,
    ) -> None:
        require_columns("LabelQualityMaker", quality, self.QUALITY)
        self.quality = quality
        self.tables = (self.quality.name,)
        self.predict = predict
        self.given = given
        self.decay = require_decay("LabelQualityMaker", decay)

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        now = predicted(self.predict, model, keys)
        given = self._labels(keys, now.shape[1])
        probability = now[np.arange(len(now)), given]
        agrees = now.argmax(axis=1) == given

        row = self.quality.lookup(keys)
        known = row.found & (row["given"] == given)
        done = known & (row.step == model.step)
        count = np.where(known, row["checkpoints"], 0) + 1
        columns = {
            "given": given,
            "probability": averaged(row["probability"], count, probability, self.decay),
            "agreement": averaged(row["agreement"], count, agrees.astype(np.float32), self.decay),
            "forgotten": np.where(known, row["forgotten"], 0) + (known & row["agrees"] & ~agrees),
            "agrees": agrees,
            "checkpoints": count,
        }
        return [
            Write(
                self.quality.name,
                keys,
                {name: np.where(done, row[name], column) for name, column in columns.items()},
            )
        ]

    def _labels(self, keys: Keys, classes: int) -> Int64s:
        labels = np.asarray(self.given(keys))
        if labels.shape != (len(keys),) or labels.dtype.kind not in "iu":
            raise InvalidValueError(
                f"given gave {labels.dtype} of shape {labels.shape} for {len(keys)} keys: expected "
                f"({len(keys)},) integers"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise InvalidValueError(
                f"given labels {labels.min()} to {labels.max()}: expected 0 to {classes - 1}, as "
                f"predict gave {classes} classes"
            )
        return labels.astype(np.int64)
