"""What a model predicts of examples, and how predictions of several checkpoints are averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from carls.client import FeatureTable, Model
from carls.errors import InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.messages import Floats

#: From a checkpoint and n keys to (n, classes) probabilities: an array, or what becomes one.
Predict: TypeAlias = Callable[[Model, Keys], Any]

#: How far probabilities may be from summing to 1: float16 outputs of many classes.
_SUM_TOLERANCE = 1e-2


def predicted(predict: Predict, model: Model, keys: Keys) -> Floats:
    """What `predict` says of n keys, as (n, classes) float32.

    Raises:
        InvalidValueError: not one row of probabilities for each key.
    """
    array = np.asarray(predict(model, keys), np.float32)
    if array.ndim != 2 or len(array) != len(keys) or array.shape[1] < 2:
        raise InvalidValueError(
            f"predict gave an array of shape {array.shape} for {len(keys)} keys: expected "
            f"({len(keys)}, classes), with 2 classes or more"
        )
    wrong = ~((array >= 0).all(axis=1) & (np.abs(array.sum(axis=1) - 1) <= _SUM_TOLERANCE))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidValueError(
            f"predict gave {array[row].tolist()!s:.80} for key {keys[row : row + 1].tolist()[0]!r}: expected "
            "probabilities, which are >= 0 and sum to 1; logits have to go through a softmax"
        )
    return array


def averaged(before: Floats, count: npt.NDArray[np.int64], now: Floats, decay: float) -> Floats:
    """Exponential averages with one more value each.

    The average of x_1 ... x_k is sum_j decay^(k-j) x_j / sum_j decay^(k-j): an exponential moving
    average from 0, divided by 1 - decay^k so that it is not drawn to 0 (S. Laine, T. Aila,
    "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, their Z / (1 - alpha^t)).

    Args:
        before: (n, ...) averages of count - 1 values; whatever where count is 1.
        count: (n,) k, with the new value.
        now: (n, ...) x_k.
        decay: 0 to below 1; 0: the newest value alone.
    """
    share = (1.0 - decay) / (1.0 - decay**count)
    share = share.reshape(-1, *[1] * (now.ndim - 1))
    result: Floats = (before + share * (now - before)).astype(np.float32)
    return result


def require_columns(maker: str, table: FeatureTable, columns: Mapping[str, str]) -> None:
    """Raise `InvalidRequestError` unless the table has these columns."""
    if not isinstance(table, FeatureTable):
        raise InvalidRequestError(
            f"{maker}: {table!r:.80} is not a feature table: expected a handle as bank.features(...) gives it"
        )
    has = dict(table.spec.columns)
    if not columns.items() <= has.items():
        raise InvalidRequestError(
            f"{maker}: table {table.name!r} has the columns {has}: expected {dict(columns)}",
            table=table.name,
        )


def require_decay(maker: str, decay: float) -> float:
    """The decay, if it is one."""
    if not 0.0 <= decay < 1.0:
        raise InvalidRequestError(f"{maker}(decay={decay!r}): expected a number from 0 to below 1")
    return float(decay)
