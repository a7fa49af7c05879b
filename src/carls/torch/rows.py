"""Rows of a table in a computation: their gradients leave for the bank."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from carls.client import EmbeddingTable
from carls.errors import InvalidSpecError
from carls.keys import Keys
from carls.torch.transfer import to_host


class Trainer(Protocol):
    """What pushes gradients: a module over a table that knows the trainer's step."""

    table: EmbeddingTable
    step: int


def gather(values: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """Rows (k, dim) at `places` (n,): (n, dim); zeros at place k. None: all rows as they are."""
    if places is None:
        return values
    return torch.cat([values, values.new_zeros(1, values.shape[1])]).index_select(0, places)


def gather_trained(
    values: torch.Tensor, places: torch.Tensor | None, keys: Keys, trainer: Trainer
) -> torch.Tensor:
    """As `gather`; the backward pass sums the gradients of each row and queues one push.

    Args:
        values: (k, dim) float32 rows, from the table.
        places: (n,) int64 places among them, k for padding; None: all rows as they are.
        keys: the k keys, all different.
        trainer: whose table takes the push, stamped with its `step` at that time.
    """
    # A function runs its backward pass only for an input that wants a gradient.
    anchor = torch.empty(0, device=values.device, requires_grad=True)
    rows: torch.Tensor = _Rows.apply(anchor, values, places, keys, trainer)  # type: ignore[no-untyped-call]
    return rows


def check_trainable(table: EmbeddingTable) -> None:
    """Refuse a table whose rows cannot be trained.

    Raises:
        InvalidSpecError: it has no optimizer.
    """
    if table.spec.optimizer is None:
        raise InvalidSpecError(
            f"table {table.name!r} has no optimizer, so its rows cannot be trained: open it with "
            "optimizer=carls.Adagrad(lr=...), or read it in eval mode or under torch.no_grad()",
            table=table.name,
        )


class _Rows(torch.autograd.Function):
    """Spreads distinct rows over their places; backward sums and pushes."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,  # noqa: ARG004 - see where it is made
        values: torch.Tensor,
        places: torch.Tensor | None,
        keys: Keys,
        trainer: Trainer,
    ) -> torch.Tensor:
        ctx.trainer, ctx.keys, ctx.places = trainer, keys, places
        return gather(values, places)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None, None, None, None]:
        keys: Keys = ctx.keys
        if ctx.places is not None:
            # One row more takes what falls on padding, and is left out.
            summed = grad.new_zeros(len(keys) + 1, grad.shape[1])
            grad = summed.index_add_(0, ctx.places, grad)[: len(keys)]
        ctx.trainer.table.push_gradients_async(keys, to_host(grad), step=ctx.trainer.step)
        return None, None, None, None, None
