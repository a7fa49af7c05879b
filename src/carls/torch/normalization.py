"""DynamicNormalization: normalises by the mean and the variance of the nearest cluster."""

from __future__ import annotations

import torch
from torch import nn

from carls import client
from carls.errors import InvalidSpecError
from carls.torch.memory import Clusters, GaussianMemory

FORMULAS = ("dynamic", "batch_norm")


class DynamicNormalization(nn.Module):
    """Normalises each input by the mean m and variance v of its nearest cluster in a Gaussian memory.

    With `formula="dynamic"` (as in the CARLS paper, arXiv 2105.12849, and its reference implementation):

        y = ((1 + (|m|^2 + p(m)) / (|x|^2 + eps)) * x - 2 g(m)) / sqrt(v + eps)
        p(m) = prior_scale * m + prior_offset,  g(m) = mean_scale * m + mean_offset

    element by element, with learned vectors; |.|^2 sums over the features. Scales start at 1 and offsets at
    0, so that y is about 2 (x - m) / sqrt(v) near a cluster's mean. With `formula="batch_norm"`:

        y = (x - m) / sqrt(v + eps) * weight + bias

    Unlike batch normalisation it does the same for every size of batch, and the same in eval mode, where the
    memory is read and not changed. Mean and variance are constants to the gradient; inputs get theirs, where
    the reference implementation stops it while the memory grows. Inputs of half precision are computed
    in float32.

    Args:
        memory: handle of a Gaussian memory, whose `dim` is the number of features.
        axis: of the features; -1: the last; 1 for images (batch, channels, height, width). All other
            axes are points.
        mode: what training does with the memory: "grow", "update" or "read".
        formula: "dynamic" or "batch_norm".
        eps: added to variances and to |x|^2.
        keep_content: as for `carls.torch.GaussianMemory`.

    Attributes:
        memory: the `carls.torch.GaussianMemory` inside.
    """

    def __init__(
        self,
        memory: client.GaussianMemory,
        *,
        axis: int = -1,
        mode: str = "grow",
        formula: str = "dynamic",
        eps: float = 1e-3,
        keep_content: bool = False,
    ) -> None:
        super().__init__()
        if formula not in FORMULAS:
            raise InvalidSpecError(f"formula={formula!r:.60}: expected one of {list(FORMULAS)}")
        self.memory = GaussianMemory(memory, axis=axis, mode=mode, keep_content=keep_content)
        self.axis = axis
        self.formula = formula
        self.eps = eps
        scales = ("weight",) if formula == "batch_norm" else ("prior_scale", "mean_scale")
        offsets = ("bias",) if formula == "batch_norm" else ("prior_offset", "mean_offset")
        for name in scales:
            self.register_parameter(name, nn.Parameter(torch.ones(memory.spec.dim)))
        for name in offsets:
            self.register_parameter(name, nn.Parameter(torch.zeros(memory.spec.dim)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The normalised input, of its shape and dtype."""
        found: Clusters = self.memory(x)
        mean, deviation = found.mean, torch.sqrt(found.variance + self.eps)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        if self.formula == "batch_norm":
            result: torch.Tensor = (wide - mean) / deviation * self._spread("weight", x) + self._spread(
                "bias", x
            )
        else:
            prior = mean * self._spread("prior_scale", x) + self._spread("prior_offset", x)
            middle = mean * self._spread("mean_scale", x) + self._spread("mean_offset", x)
            squares = [vectors.square().sum(self.axis, keepdim=True) for vectors in (mean, wide)]
            ratio = (squares[0] + prior) / (squares[1] + self.eps)
            result = ((1 + ratio) * wide - 2 * middle) / deviation
        return result.to(x.dtype)

    def ood_score(self, x: torch.Tensor) -> torch.Tensor:
        """As `carls.torch.GaussianMemory.ood_score`, of this layer's input."""
        score: torch.Tensor = self.memory.ood_score(x)
        return score

    def extra_repr(self) -> str:
        return f"formula={self.formula!r}, eps={self.eps}"

    def _spread(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A parameter in a shape that broadcasts over `x`."""
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return self.get_parameter(name).view(shape)
