"""Messages about checkpoints of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from carls.messages.rows import WriteId


class PublishModel(NamedTuple):
    """One part of a checkpoint, safetensors bytes; it is published when the last part arrives,
    if the whole has the SHA-256 `digest`. Parts of one checkpoint come in order, each with
    a sequence number of its own, `table` being the model's name in `WriteId` terms.
    Reply: `Done`."""

    model: str
    step: int
    keep: int
    part: int
    parts: int
    digest: str
    data: bytes
    producer: str
    write: WriteId


class LatestModel(NamedTuple):
    """The checkpoint published last, if its step is above `newer_than` (None: any); with `after`, the last
    one of those published after that version whose step is. Waits up to `wait_s` seconds for one.
    Reply: `ModelInfo` or `NoModel`."""

    model: str
    newer_than: int | None
    wait_s: float
    after: int | None = None


class FetchModel(NamedTuple):
    """Part `part` of checkpoint `version`. Reply: `ModelPart`."""

    model: str
    version: int
    part: int


class ListModels(NamedTuple):
    """Reply: list of `ModelInfo`, the newest of each model, by name."""


@dataclass(frozen=True)
class ModelInfo:
    """A checkpoint: `version` counts publications from 1, `age` in seconds, size in bytes."""

    name: str
    version: int
    step: int
    age: float
    producer: str
    nbytes: int
    parts: int
    digest: str


class NoModel(NamedTuple):
    """There is no checkpoint that is new enough."""


class ModelPart(NamedTuple):
    """Bytes of one part of a checkpoint."""

    data: bytes
