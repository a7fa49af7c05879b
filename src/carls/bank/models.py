"""The models of the engine: checkpoints, published in parts, the last few kept."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace

import safetensors.numpy

from carls.bank.checks import check_wait
from carls.bank.clock import TICKS_PER_S, Clock
from carls.errors import ClosedError, InvalidRequestError, InvalidValueError, RequestTooLargeError
from carls.messages import FetchModel, ModelInfo, ModelPart, NoModel, PublishModel
from carls.specs import check_name

#: Largest checkpoint, and most uploads under way at once.
MAX_MODEL_BYTES = 8 << 30
MAX_UPLOADS = 16


@dataclass(frozen=True)
class _Checkpoint:
    info: ModelInfo
    published: int
    parts: tuple[bytes, ...]


class Models:
    """Checkpoints by name. `latest` waits for a newer one, never longer than it is told."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._models: dict[str, deque[_Checkpoint]] = {}
        self._uploads: OrderedDict[tuple[str, str], list[bytes]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def publish(self, request: PublishModel) -> None:
        """Take one part; with the last one the checkpoint is there for everybody at once.

        Raises:
            InvalidRequestError: parts out of order or of an upload that was given up.
            InvalidValueError: the whole is not what its digest says, or no safetensors data.
        """
        check_name("model", request.model)
        if request.step < 0 or request.keep < 1 or not 0 <= request.part < request.parts:
            raise InvalidRequestError(
                f"model {request.model!r}: step {request.step}, keep {request.keep}, part {request.part} of "
                f"{request.parts}: expected step >= 0, keep >= 1, 0 <= part < parts"
            )
        data = self._collect(request)
        if data is None:
            return
        whole = b"".join(data)
        digest = hashlib.sha256(whole).hexdigest()
        if digest != request.digest:
            raise InvalidValueError(
                f"model {request.model!r} arrived with SHA-256 {digest}: expected {request.digest}; "
                "publish it again"
            )
        try:
            safetensors.numpy.load(whole)
        except Exception as error:
            raise InvalidValueError(f"model {request.model!r} is no safetensors data: {error}") from None
        with self._changed:
            kept = self._models.setdefault(request.model, deque())
            info = ModelInfo(
                name=request.model,
                version=kept[-1].info.version + 1 if kept else 1,
                step=request.step,
                age=0.0,
                producer=request.producer,
                nbytes=len(whole),
                parts=len(data),
                digest=digest,
            )
            kept.append(_Checkpoint(info, self._clock.ticks(), tuple(data)))
            while len(kept) > request.keep:
                kept.popleft()
            self._changed.notify_all()

    def _collect(self, request: PublishModel) -> list[bytes] | None:
        """All parts, if this one completes them."""
        upload = (request.write.client, request.model)
        with self._changed:
            parts = self._uploads.pop(upload, [])
            if request.part == 0:
                parts = []
            if len(parts) != request.part:
                raise InvalidRequestError(
                    f"part {request.part} of model {request.model!r} came after {len(parts)} parts: at most "
                    f"{MAX_UPLOADS} uploads run at once and this one was given up; publish the model again"
                )
            parts.append(request.data)
            size = sum(map(len, parts))
            if size > MAX_MODEL_BYTES:
                raise RequestTooLargeError(
                    f"model {request.model!r} has over {size} bytes: expected at most {MAX_MODEL_BYTES}"
                )
            if len(parts) == request.parts:
                return parts
            self._uploads[upload] = parts
            if len(self._uploads) > MAX_UPLOADS:
                self._uploads.popitem(last=False)
            return None

    def latest(
        self, model: str, newer_than: int | None, wait_s: float, after: int | None = None
    ) -> ModelInfo | NoModel:
        """A checkpoint whose step is above `newer_than`, as `LatestModel` says; waits up to `wait_s`
        seconds."""
        deadline = time.monotonic() + check_wait(wait_s)
        with self._changed:
            while True:
                if self._closed:
                    raise ClosedError("the bank was closed while a client waited for a model")
                for checkpoint in reversed(self._models.get(model, ())):
                    info = checkpoint.info
                    if after is not None and info.version <= after:
                        break
                    if newer_than is None or info.step > newer_than:
                        return self._aged(checkpoint)
                    if after is None:
                        break
                left = deadline - time.monotonic()
                if left <= 0:
                    return NoModel()
                self._changed.wait(left)

    def fetch(self, request: FetchModel) -> ModelPart:
        """One part of a checkpoint that is still kept."""
        with self._changed:
            for checkpoint in self._models.get(request.model, ()):
                if checkpoint.info.version == request.version:
                    if not 0 <= request.part < len(checkpoint.parts):
                        break
                    return ModelPart(checkpoint.parts[request.part])
        raise InvalidRequestError(
            f"model {request.model!r} has no part {request.part} of version {request.version}: "
            "it may have been replaced by newer ones meanwhile; ask for the latest again"
        )

    def newest(self) -> list[ModelInfo]:
        """The newest checkpoint of each model, by name."""
        with self._changed:
            return [self._aged(kept[-1]) for _, kept in sorted(self._models.items())]

    def close(self) -> None:
        """Wake all who wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _aged(self, checkpoint: _Checkpoint) -> ModelInfo:
        age = (self._clock.ticks() - checkpoint.published) / TICKS_PER_S
        return replace(checkpoint.info, age=age)
