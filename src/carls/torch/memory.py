"""GaussianMemory: a layer that finds the nearest cluster of its inputs in a bank."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from carls import client
from carls.errors import InvalidRequestError, InvalidValueError, SpecMismatchError
from carls.specs import spec_from_json
from carls.torch.transfer import to_device, to_host


class Clusters(NamedTuple):
    """The nearest clusters of points, as tensors without gradients on the device of the points.

    `cluster` int64 and `distance` float32 have the input's shape without the feature axis, `mean` and
    `variance` float32 have the input's shape; as in `carls.NearestClusters`.
    """

    cluster: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    distance: torch.Tensor


class GaussianMemory(nn.Module):
    """Finds the nearest Gaussian cluster of each input, and in training lets the memory learn from them.

    `forward(x)` takes floats of any shape whose axis `axis` has the memory's `dim` elements; all other axes
    are points, taken in C order. It gives `Clusters`; nothing in them has a gradient. In training mode a
    call is one look-up in mode `mode`, in eval mode one in mode "read", which changes nothing.

    Args:
        memory: handle of a Gaussian memory.
        axis: of the features; -1: the last.
        mode: "grow", "update" or "read".
        keep_content: whether `state_dict` has the memory's content; else it says only where the memory is.
            Loading such a state replaces all that the memory knows, for everybody who uses it.
    """

    def __init__(
        self, memory: client.GaussianMemory, *, axis: int = -1, mode: str = "grow", keep_content: bool = False
    ) -> None:
        super().__init__()
        if mode not in ("read", "update", "grow"):
            raise InvalidRequestError(f"mode={mode!r:.60}: expected 'read', 'update' or 'grow'")
        self.memory = memory
        self.axis = axis
        self.mode = mode
        self.keep_content = keep_content

    def forward(self, x: torch.Tensor) -> Clusters:
        """The nearest clusters of all points of `x`."""
        points = self._points(x)
        shape = points.shape[:-1]
        if points.numel() == 0:
            nothing = points.new_zeros(points.shape, dtype=torch.float32).movedim(-1, self.axis)
            none = points.new_zeros(shape, dtype=torch.int64)
            return Clusters(none, nothing, nothing, none.float())
        mode = self.mode if self.training else "read"
        found = self.memory.lookup(to_host(points.reshape(-1, self.memory.spec.dim)), mode)

        def spread(array: Any) -> torch.Tensor:
            return to_device(array, x.device).view(points.shape).movedim(-1, self.axis)

        return Clusters(
            to_device(found.cluster, x.device).view(shape),
            spread(found.mean),
            spread(found.variance),
            to_device(found.distance, x.device).view(shape),
        )

    def ood_score(self, x: torch.Tensor) -> torch.Tensor:
        """How foreign each point of `x` is: float64 of its shape without the feature axis, the larger the
        more, as `carls.GaussianMemory.score` has it. Nothing changes."""
        points = self._points(x)
        if points.numel() == 0:
            return points.new_zeros(points.shape[:-1], dtype=torch.float64)
        score = self.memory.score(to_host(points.reshape(-1, self.memory.spec.dim)))
        return torch.from_numpy(score).view(points.shape[:-1]).to(x.device)

    def get_extra_state(self) -> dict[str, Any]:
        """Where the memory is, for `state_dict`, and with `keep_content` what it knows."""
        state = {
            "bank": self.memory.bank.url,
            "table": self.memory.name,
            "spec": self.memory.spec.to_json(),
        }
        if self.keep_content:
            content = self.memory.export()
            state["content"] = {name: torch.from_numpy(array.copy()) for name, array in content.items()}
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Check that a loaded state is of a memory like this, and load its content if it has one.

        Without a content the state must be of a memory of the same name too; the bank may have moved.

        Raises:
            SpecMismatchError: it was saved with another memory or another spec.
        """
        content = state.get("content")
        same = spec_from_json(state["spec"]) == self.memory.spec
        if not same or (content is None and state["table"] != self.memory.name):
            raise SpecMismatchError(
                f"the state was saved with memory {state['table']!r} of spec {state['spec']}, and this "
                "module "
                f"uses memory {self.memory.name!r} of spec {self.memory.spec.to_json()}: build it on a "
                "memory "
                "like the saved one",
                bank=self.memory.bank.url,
                table=self.memory.name,
            )
        if content is not None:
            self.memory.load({name: tensor.cpu().numpy() for name, tensor in content.items()})

    def extra_repr(self) -> str:
        memory = self.memory
        return f"memory={memory.name!r}, dim={memory.spec.dim}, axis={self.axis}, mode={self.mode!r}"

    def _points(self, x: torch.Tensor) -> torch.Tensor:
        """`x` with the features last."""
        dim = self.memory.spec.dim
        if not x.is_floating_point() or not -x.ndim <= self.axis < x.ndim or x.shape[self.axis] != dim:
            raise InvalidValueError(
                f"input of {x.dtype} and shape {tuple(x.shape)} for memory {self.memory.name!r}: expected "
                "floats "
                f"with {dim} elements on axis {self.axis}",
                table=self.memory.name,
            )
        return x.detach().movedim(self.axis, -1)
