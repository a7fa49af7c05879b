"""Copies between numpy arrays on the host and tensors on a device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch

from carls.messages import Floats


def to_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array (any shape) as a tensor on `device`.

    The way to a CUDA device goes through pinned memory, so that the copy runs beside the
    computation; the CPU tensor is a copy of its own, since replies may be read-only.
    """
    # torch.tensor would copy too, but warns about arrays that are not writable.
    host = torch.empty(array.shape, dtype=_DTYPES[array.dtype.name], pin_memory=device.type == "cuda")
    host.numpy()[...] = array
    # The caching host allocator keeps the pinned block until the copy is done.
    return host.to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> Floats:
    """The tensor (any shape, any device) as a float32 array that nobody else holds.

    From a CUDA device the copy goes through pinned memory and is awaited.
    """
    source = tensor.detach()
    host = torch.empty(source.shape, dtype=torch.float32, pin_memory=source.device.type == "cuda")
    host.copy_(source, non_blocking=True)
    if source.device.type == "cuda":
        torch.cuda.current_stream(source.device).synchronize()
    array: Floats = host.numpy()
    return array


_DTYPES = {"float32": torch.float32, "float16": torch.float16, "int64": torch.int64, "bool": torch.bool}
