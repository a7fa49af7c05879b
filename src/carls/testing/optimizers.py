"""The optimizers' definitions in numpy, one row at a time: slow, and easy to check.

They compute in the type of the row's value: float32 as the bank does, or float64 to see what rounding does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.specs import FTRL, SGD, Adagrad, Adam, Momentum, Optimizer, RowwiseAdagrad

Values = npt.NDArray[Any]


@dataclass
class OptimizerState:
    """State of a row of `dim` elements; each optimizer uses what it needs of it."""

    velocity: Values
    sum: Values
    mean: Values
    square: Values
    z: Values
    updates: int = 0

    @staticmethod
    def of(optimizer: Optimizer | None, value: Values) -> OptimizerState:
        """The state of a new row with `value`."""
        start = getattr(optimizer, "initial_accumulator", 0.0)
        zeros = np.zeros_like(value)
        return OptimizerState(zeros, np.full_like(value, start), zeros, zeros, zeros)


def clip(optimizer: Optimizer, gradient: Values) -> tuple[Values, bool]:
    """The gradient, scaled down to `max_norm` where it is longer, and whether it was."""
    norm = float(np.linalg.norm(gradient.astype(np.float64)))
    if optimizer.max_norm is None or norm <= optimizer.max_norm:
        return gradient, False
    return gradient * (optimizer.max_norm / norm), True


def step(optimizer: Any, value: Values, state: OptimizerState, gradient: Values) -> Values:
    """The row's value after one step; changes `state`.

    Args:
        optimizer: with the learning rate of this step.
        value: (dim,), not changed.
        state: of the row.
        gradient: (dim,), that of the whole batch.
    """
    v: Values = value
    lr = optimizer.lr
    g = clip(optimizer, gradient)[0].astype(v.dtype) + optimizer.weight_decay * v
    if isinstance(optimizer, SGD):
        v = v - lr * g
    elif isinstance(optimizer, Momentum):
        state.velocity = optimizer.momentum * state.velocity + g
        v = v - lr * (g + optimizer.momentum * state.velocity if optimizer.nesterov else state.velocity)
    elif isinstance(optimizer, Adagrad):
        state.sum = state.sum + (np.mean(g**2) if isinstance(optimizer, RowwiseAdagrad) else g**2)
        v = v - lr * g / (np.sqrt(state.sum) + optimizer.eps)
    elif isinstance(optimizer, Adam):
        state.updates += 1
        state.mean = optimizer.beta1 * state.mean + (1 - optimizer.beta1) * g
        state.square = optimizer.beta2 * state.square + (1 - optimizer.beta2) * g**2
        mean = state.mean / (1 - optimizer.beta1**state.updates)
        square = state.square / (1 - optimizer.beta2**state.updates)
        v = v - lr * mean / (np.sqrt(square) + optimizer.eps)
    elif isinstance(optimizer, FTRL):
        power = -optimizer.lr_power
        before, after = state.sum**power, (state.sum + g**2) ** power
        state.sum = state.sum + g**2
        # All times lr, as the bank keeps it: with one rate throughout it makes no difference.
        state.z = state.z + lr * g - (after - before) * v
        threshold = lr * optimizer.l1
        beyond = np.where(np.abs(state.z) > threshold, np.sign(state.z) * threshold - state.z, 0 * v)
        v = beyond / (optimizer.beta + after + lr * optimizer.l2)
    else:
        raise NotImplementedError(f"no plain definition of {optimizer}")
    return v
