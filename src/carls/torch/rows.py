"""Rows of a table in a computation: their gradients leave for the bank."""

from __future__ import annotations

from typing import Any

import torch

from carls.keys import Keys
from carls.torch.table_module import TableModule
from carls.torch.transfer import to_host


def gather(values: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """Rows (k, dim) at `places` (n,): (n, dim); zeros at place k. None: all rows as they are."""
    if places is None:
        return values
    return torch.cat([values, values.new_zeros(1, values.shape[1])]).index_select(0, places)


def gather_trained(
    values: torch.Tensor, places: torch.Tensor | None, keys: Keys, module: TableModule
) -> torch.Tensor:
    """As `gather`; the backward pass sums the gradients of each row and queues one push.

    Args:
        values: (k, dim) float32 rows, from the table.
        places: (n,) int64 places among them, k for padding; None: all rows as they are.
        keys: the k keys, all different.
        module: whose table takes the push, stamped with its `step` at that time.
    """
    # A function runs its backward pass only for an input that wants a gradient.
    anchor = torch.empty(0, device=values.device, requires_grad=True)
    rows: torch.Tensor = _Rows.apply(anchor, values, places, keys, module)  # type: ignore[no-untyped-call]
    return rows


class _Rows(torch.autograd.Function):
    """Spreads distinct rows over their places; backward sums and pushes."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,  # noqa: ARG004 - see where it is made
        values: torch.Tensor,
        places: torch.Tensor | None,
        keys: Keys,
        module: TableModule,
    ) -> torch.Tensor:
        ctx.module, ctx.keys, ctx.places = module, keys, places
        return gather(values, places)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None, None, None, None]:
        keys: Keys = ctx.keys
        if ctx.places is not None:
            # One row more takes what falls on padding, and is left out.
            summed = grad.new_zeros(len(keys) + 1, grad.shape[1])
            grad = summed.index_add_(0, ctx.places, grad)[: len(keys)]
        ctx.module.table.push_gradients_async(keys, to_host(grad), step=ctx.module.step)
        return None, None, None, None, None
