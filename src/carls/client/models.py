"""Models: checkpoints in the bank, for makers to follow."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from carls.client.arguments import integer, seconds
from carls.client.link import Link
from carls.client.results import Model
from carls.client.writer import Writer
from carls.errors import (
    InvalidRequestError,
    InvalidValueError,
)
from carls.messages import (
    FetchModel,
    LatestModel,
    ListModels,
    ModelInfo,
    ModelPart,
    NoModel,
    PublishModel,
    Reply,
    Request,
    WriteId,
)
from carls.specs import check_name

if TYPE_CHECKING:
    from carls.client.bank import Bank

#: Bytes of one part of a checkpoint on its way.
PART_BYTES = 8 << 20
#: Longest wait of one request; longer ones are several.
_POLL_S = 1.0


class Models:
    """The checkpoints of a bank; `bank.models`."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._writers: dict[str, Writer] = {}
        self._lock = threading.Lock()
        self._link = Link(
            bank,
            self._all_writers,
            lambda: bank.id,
            "its models are gone. The next call works; publish them again if nobody else does",
        )

    def publish(
        self, name: str, tensors: Mapping[str, Any], step: int, keep: int = 3, timeout_s: float | None = None
    ) -> None:
        """Publish a checkpoint; others see all of it or nothing.

        Args:
            name: of the model.
            tensors: name -> array or tensor, such as a PyTorch `state_dict()`. At most 8 GiB.
            step: the training step, >= 0.
            keep: how many of the newest checkpoints the bank keeps, >= 1.
            timeout_s: deadline for each part of 8 MiB; default the bank's.

        Raises:
            InvalidValueError: no tensors, or one that numpy cannot hold.
            OutcomeUnknownError: no reply in time; `flush()` sends what is left, which is safe.
        """
        check_name("model", name)
        step, keep = integer("step", step, 0), integer("keep", keep, 1)
        data = _serialized(name, tensors)
        digest = hashlib.sha256(data).hexdigest()
        starts = range(0, len(data), PART_BYTES)

        def build(part: int, write: WriteId) -> PublishModel:
            piece = data[starts[part] : starts[part] + PART_BYTES]
            producer = self._bank.producer
            return PublishModel(name, step, keep, part, len(starts), digest, piece, producer, write)

        parts = [partial(build, part) for part in range(len(starts))]
        self._writer(name).write(parts, self._timeout(timeout_s))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every checkpoint so far is published, and repeat what has an unknown outcome.

        Raises:
            DeadlineExceededError: that was not done in time; call it again.
        """
        deadline = time.monotonic() + self._timeout(timeout_s)
        for writer in self._all_writers():
            writer.flush(max(deadline - time.monotonic(), 0.001))

    def latest(
        self,
        name: str,
        newer_than: int | None = None,
        wait_s: float = 0.0,
        timeout_s: float | None = None,
        after: int | None = None,
    ) -> Model | None:
        """The checkpoint published last, if its step is above `newer_than`, or None.

        Args:
            name: of the model.
            newer_than: a step; None for any.
            after: a version: of those published after it, as far as they are kept, the last one whose step is
                above `newer_than`. For those who follow a model that several trainers publish, at whatever
                step each is: they see rising steps, those of the trainer that is ahead.
            wait_s: how long to wait for such a checkpoint, in seconds.
            timeout_s: deadline for each request beyond the wait; default the bank's.
        """
        check_name("model", name)
        newer = None if newer_than is None else integer("newer_than", newer_than, -1)
        version = None if after is None else integer("after", after, 0)
        deadline = time.monotonic() + seconds("wait_s", wait_s, zero=True)
        timeout = self._timeout(timeout_s)
        while True:
            wait = min(max(deadline - time.monotonic(), 0.0), _POLL_S)
            info = self._send(LatestModel(name, newer, wait, version), timeout + wait)
            if isinstance(info, ModelInfo):
                model = self._fetch(info, timeout)
                if model is not None:
                    return model
            elif isinstance(info, NoModel) and time.monotonic() >= deadline:
                return None

    def list(self) -> list[ModelInfo]:
        """The newest checkpoint of each model, by name, without the tensors."""
        return cast("list[ModelInfo]", self._send(ListModels(), self._bank.timeout_s))

    def close(self, timeout_s: float | None = None) -> None:
        """Give the writers back; closing twice is fine."""
        errors: list[Exception] = []
        deadline = time.monotonic() + self._timeout(timeout_s)
        for writer in self._all_writers():
            try:
                writer.close(max(deadline - time.monotonic(), 0.1))
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _fetch(self, info: ModelInfo, timeout_s: float) -> Model | None:
        """The checkpoint's tensors; None if newer ones have replaced it meanwhile."""
        parts = []
        for part in range(info.parts):
            try:
                reply = self._send(FetchModel(info.name, info.version, part), timeout_s)
            except InvalidRequestError:
                return None
            parts.append(cast("ModelPart", reply).data)
        data = b"".join(parts)
        if hashlib.sha256(data).hexdigest() != info.digest:
            raise InvalidValueError(
                f"model {info.name!r} version {info.version} was damaged on its way: fetch it again"
            )
        tensors = safetensors.numpy.load(data)
        return Model(info.name, info.version, info.step, info.age, info.producer, tensors)

    def _all_writers(self) -> tuple[Writer, ...]:
        with self._lock:
            return tuple(self._writers.values())

    def _writer(self, name: str) -> Writer:
        self._bank._check()
        with self._lock:
            if name not in self._writers:
                self._writers[name] = Writer(f"model {name!r} of {self._bank.url}", self._send)
            return self._writers[name]

    def _timeout(self, timeout_s: float | None) -> float:
        return self._bank.timeout_s if timeout_s is None else seconds("timeout_s", timeout_s)

    def _send(self, request: Request, timeout_s: float) -> Reply:
        self._bank._check()
        return self._link.send(request, timeout_s)


def _serialized(name: str, tensors: Mapping[str, Any]) -> bytes:
    if not isinstance(tensors, Mapping) or not tensors:
        raise InvalidValueError(f"model {name!r}: expected a mapping of at least one name to a tensor")
    arrays = {}
    for key, value in tensors.items():
        if not isinstance(key, str):
            raise InvalidValueError(f"tensor name {key!r:.60} of model {name!r}: expected a str")
        arrays[key] = _as_array(name, key, value)
    try:
        return safetensors.numpy.save(arrays)
    except Exception as error:  # its own kinds of errors: names or dtypes that the format does not have
        raise InvalidValueError(f"model {name!r} cannot be written as safetensors: {error}") from None


def _as_array(name: str, key: str, value: Any) -> npt.NDArray[Any]:
    """`value` as a numpy array in C order, which is what safetensors writes."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        array = np.asarray(value, order="C")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidValueError(
            f"tensor {key!r} of model {name!r} cannot become a numpy array: {error}"
        ) from None
    if array.dtype.kind not in "fiub":
        raise InvalidValueError(
            f"tensor {key!r} of model {name!r} has dtype {array.dtype}: expected numbers or bool"
        )
    return array
