"""LabelMaker: pseudo labels from what the last checkpoints agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from carls.client import FeatureTable, Model, Ragged
from carls.errors import InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.predictions import Predict, averaged, predicted, require_columns, require_decay
from carls.messages import Floats

#: Keeps the shares of classes that were never predicted from dividing by 0.
_SMALLEST_SHARE = 1e-6


class LabelMaker(KnowledgeMaker):
    """Writes a label, and how sure it is, for each example, from the average of its predictions.

    With the probabilities p_1 ... p_k that checkpoints 1 ... k gave an example:

    1. *average*: a = sum_j decay^(k-j) p_j / sum_j decay^(k-j) (S. Laine, T. Aila, "Temporal
       Ensembling for Semi-Supervised Learning", ICLR 2017);
    2. *align*, where `class_shares` s are given: a_c s_c / m_c, divided by its sum over c, m being the
       mean of all averages in the bank before this checkpoint: classes that are predicted too often
       lose, others gain. Distribution alignment, D. Berthelot et al., "ReMixMatch", ICLR 2020;
    3. *sharpen*: q_c = a_c^(1/T) / sum_d a_d^(1/T) (D. Berthelot et al., "MixMatch", NeurIPS 2019);
    4. the *label* is the class of the highest q, its *confidence* that q. Below `threshold` the label
       is -1, none; the confidence stays (K. Sohn et al., "FixMatch", NeurIPS 2020).

    The averages are rows of a table of their own, so a maker that takes over, or several that
    share the keys, go on from where the last one was. A checkpoint counts once: averages of its step
    stay as they are. Aligning reads all averages once a checkpoint.

    Args:
        labels: feature table with the columns `LabelMaker.LABELS`: `label` int32, `confidence`
            float32. If it has `probabilities` "list<float32>" as well, q goes there.
        averages: feature table with the columns `LabelMaker.AVERAGES`; makers of other models use
            another.
        predict: gives (n, classes) probabilities for a checkpoint and n keys. Picklable, and the
            tables those of a server, where the maker is to run in a process of its own.
        decay: of the average, a checkpoint; 0 to below 1. 0: the newest prediction alone.
        temperature: T, above 0; below 1 sharpens, 1 leaves as it is.
        threshold: least confidence of a label, 0 to 1.
        class_shares: (classes,) s, how frequent each class really is, above 0 with a sum of 1; None: not
            aligned.

    Raises:
        InvalidRequestError: an argument that cannot be.
    """

    LABELS: ClassVar[Mapping[str, str]] = {"label": "int32", "confidence": "float32"}
    AVERAGES: ClassVar[Mapping[str, str]] = {"probabilities": "list<float32>", "checkpoints": "int32"}

    def __init__(
        self,
        labels: FeatureTable,
        averages: FeatureTable,
        predict: Predict,
        *,
        decay: float = 0.9,
        temperature: float = 1.0,
        threshold: float = 0.0,
        class_shares: Any = None,
    ) -> None:
        require_columns("LabelMaker", labels, self.LABELS)
        require_columns("LabelMaker", averages, self.AVERAGES)
        if not (np.isfinite(temperature) and temperature > 0):
            raise InvalidRequestError(f"LabelMaker(temperature={temperature!r}): expected a number above 0")
        if not 0.0 <= threshold <= 1.0:
            raise InvalidRequestError(f"LabelMaker(threshold={threshold!r}): expected a number from 0 to 1")
        self.labels = labels
        self.tables = (self.labels.name,)
        self.averages = averages
        self.predict = predict
        self.decay = require_decay("LabelMaker", decay)
        self.temperature = float(temperature)
        self.threshold = float(threshold)
        self.class_shares = None if class_shares is None else _shares(class_shares)
        self._mean: Floats | None = None
        self._mean_of: tuple[int, int] | None = None

    def make(self, model: Model, keys: Keys) -> Sequence[Write]:
        now = predicted(self.predict, model, keys)
        known = self.averages.lookup(keys)
        before = self._matrix(known["probabilities"], known.found, now.shape[1])
        done = known.found & (known.step == model.step)
        count = np.where(known.found, known["checkpoints"], 0) + ~done
        average = np.where(done[:, None], before, averaged(before, count, now, self.decay))
        confident = self._sharpened(self._aligned(model, average))
        columns: dict[str, Any] = {
            "label": _labels(confident, self.threshold),
            "confidence": confident.max(axis=1),
        }
        if "probabilities" in dict(self.labels.spec.columns):
            columns["probabilities"] = _lists(confident)
        return [
            # In this order: labels never come from averages that a maker that takes over lacks.
            Write(self.averages.name, keys, {"probabilities": _lists(average), "checkpoints": count}),
            Write(self.labels.name, keys, columns),
        ]

    def _matrix(self, lists: Any, found: Any, classes: int) -> Floats:
        """Averages as (n, classes), zeros where there are none."""
        if (lists.lengths[found] != classes).any():
            raise InvalidValueError(
                f"table {self.averages.name!r} has averages of {int(lists.lengths[found].max())} classes, "
                f"and predict gave {classes}: average another model's predictions in another table"
            )
        matrix = np.zeros((len(found), classes), np.float32)
        matrix[found] = np.asarray(lists.values, np.float32).reshape(-1, classes)
        return matrix

    def _aligned(self, model: Model, average: Floats) -> Floats:
        if self.class_shares is None:
            return average
        if len(self.class_shares) != average.shape[1]:
            raise InvalidValueError(
                f"class_shares of {len(self.class_shares)} classes, and predict gave {average.shape[1]}"
            )
        if self._mean_of != (model.version, model.step):
            self._mean = self._mean_average()
            self._mean_of = (model.version, model.step)
        if self._mean is None:
            return average
        return _normalized(average * (self.class_shares / np.maximum(self._mean, _SMALLEST_SHARE)))

    def _mean_average(self) -> Floats | None:
        """The mean of all averages in the bank; None where there are none yet."""
        totals, rows = [], 0
        for keys, page in self.averages.scan():
            values = np.asarray(page["probabilities"].values, np.float64)
            totals.append(values.reshape(len(keys), -1).sum(axis=0))
            rows += len(keys)
        return (np.sum(totals, axis=0) / rows).astype(np.float32) if rows else None

    def _sharpened(self, average: Floats) -> Floats:
        # By way of the largest, so that small powers of small numbers do not all become 0.
        relative = average / average.max(axis=1, keepdims=True)
        return _normalized(relative ** (1.0 / self.temperature))


def _normalized(rows: npt.NDArray[Any]) -> Floats:
    result: Floats = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def _lists(rows: Floats) -> Ragged:
    n, classes = rows.shape
    return Ragged(np.arange(n + 1) * classes, rows.reshape(-1))


def _labels(confident: Floats, threshold: float) -> Any:
    return np.where(confident.max(axis=1) >= threshold, confident.argmax(axis=1), -1).astype(np.int32)


def _shares(class_shares: Any) -> Floats:
    shares = np.asarray(class_shares, np.float32)
    if shares.ndim != 1 or not (shares > 0).all() or not abs(float(shares.sum()) - 1) <= 1e-3:
        raise InvalidRequestError(
            f"LabelMaker(class_shares={class_shares!r:.80}): expected a number above 0 for each class, "
            "with a sum of 1"
        )
    return shares
