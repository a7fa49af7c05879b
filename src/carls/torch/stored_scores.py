"""How queries score against rows that are not trained: one logarithm of a sum for each query."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from carls.torch.negatives import Negatives


def stored_logsumexp(
    queries: torch.Tensor,
    rows: torch.Tensor,
    offsets: torch.Tensor | None,
    left_out: tuple[torch.Tensor, torch.Tensor],
    out: float,
    negatives: Negatives,
) -> torch.Tensor:
    """(n,) log sum_j exp(<q_i, r_j> + o_j) over the j that `negatives` finds hardest for i.

    The same in plain torch passes over the (n, c) scores three times as often, which for thousands of rows is
    what a step costs. The gradient of a query, sum_j softmax_ij r_j, needs the softmax alone.

    Args:
        queries: (n, dim) float32.
        rows: (c, dim) float32; no gradient goes to them.
        offsets: (c,) float32; None: 0.
        left_out: (m,) int64 queries and (m,) int64 rows of pairs that score `out` instead.
        out: so low that its exponential is 0 beside any other.
    """
    result: torch.Tensor = _LogSumExp.apply(  # type: ignore[no-untyped-call]
        queries, rows, offsets, left_out, out, negatives
    )
    return result


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        rows: torch.Tensor,
        offsets: torch.Tensor | None,
        left_out: tuple[torch.Tensor, torch.Tensor],
        out: float,
        negatives: Negatives,
    ) -> torch.Tensor:
        scores = queries @ rows.T if offsets is None else torch.addmm(offsets, queries, rows.T)
        scores[left_out] = out
        hardest = negatives.hardest(scores)
        counted = scores if hardest is None else scores.gather(1, hardest)
        shares = counted.softmax(dim=1)
        # From the largest, whose share is at least 1 / c: those of others may be 0 in float32.
        result = counted.amax(dim=1) - shares.amax(dim=1).log()
        if hardest is not None:
            shares = torch.zeros_like(scores).scatter_(1, hardest, shares)
        ctx.save_for_backward(shares, rows)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        shares, rows = ctx.saved_tensors
        return (shares @ rows) * grad[:, None], None, None, None, None, None
