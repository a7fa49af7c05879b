"""Checkpoints in the engine: parts in order, waits that end."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from carls.bank import Engine
from carls.errors import ClosedError, InvalidRequestError, InvalidValueError
from carls.messages import FetchModel, LatestModel, ModelInfo, NoModel, PublishModel, WriteId

DATA = safetensors.numpy.save({"w": np.arange(4, dtype=np.float32)})


def publish(engine: Engine, sequence: int = 1, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "model": "m",
        "step": 1,
        "keep": 2,
        "part": 0,
        "parts": 1,
        "digest": hashlib.sha256(DATA).hexdigest(),
        "data": DATA,
        "producer": "p",
        "write": WriteId("c", sequence, True),
    }
    engine.handle(PublishModel(**fields | changes))


def test_parts_come_in_order_and_whole() -> None:
    engine = Engine()
    publish(engine, 1, parts=2, data=DATA[:9])
    assert engine.handle(LatestModel("m", None, 0.0)) == NoModel()
    with pytest.raises(InvalidRequestError, match="part 2"):
        publish(engine, 2, part=2, parts=3, data=DATA[9:])
    publish(engine, 3, parts=2, data=DATA[:9])
    publish(engine, 4, part=1, parts=2, data=DATA[9:])
    info = engine.handle(LatestModel("m", None, 0.0))
    assert isinstance(info, ModelInfo)
    assert info.parts == 2
    assert engine.handle(FetchModel("m", 1, 1)).data == DATA[9:]


def test_what_is_no_checkpoint_is_refused() -> None:
    engine = Engine()
    with pytest.raises(InvalidValueError, match="SHA-256"):
        publish(engine, 1, digest="0" * 64)
    junk = b"\x08" + bytes(30)
    with pytest.raises(InvalidValueError, match="safetensors"):
        publish(engine, 2, data=junk, digest=hashlib.sha256(junk).hexdigest())
    assert engine.handle(LatestModel("m", None, 0.0)) == NoModel()


def test_only_the_last_are_kept() -> None:
    engine = Engine()
    for sequence in (1, 2, 3):
        publish(engine, sequence, step=sequence)
    assert engine.handle(FetchModel("m", 2, 0)).data == DATA
    with pytest.raises(InvalidRequestError, match="version 1"):
        engine.handle(FetchModel("m", 1, 0))


def test_what_was_published_last_hides_nothing_from_those_who_say_what_they_have() -> None:
    engine = Engine()
    for sequence, step in enumerate((100, 101, 5), start=1):
        publish(engine, sequence, step=step, keep=3)

    def latest(newer_than: int | None, after: int | None) -> int | None:
        told = engine.handle(LatestModel("m", newer_than, 0.0, after))
        return told.step if isinstance(told, ModelInfo) else None

    assert latest(None, None) == 5
    assert latest(100, None) is None
    assert latest(100, 1) == 101
    assert latest(101, 2) is None
    assert latest(4, 2) == 5
    # A trainer that began anew: what was published before is of another course.
    assert latest(5, 3) is None


@pytest.mark.parametrize("wait_s", [float("nan"), -1.0, float("inf")])
def test_waits_that_cannot_be(wait_s: float) -> None:
    with pytest.raises(InvalidRequestError, match="wait_s"):
        Engine().handle(LatestModel("m", None, wait_s))


def reply_when(act: Callable[[Engine], None]) -> Any:
    """What a client that waits for a checkpoint gets when `act` happens."""
    engine = Engine()
    replies: list[Any] = []

    def wait() -> None:
        try:
            replies.append(engine.handle(LatestModel("m", None, 30.0)))
        except ClosedError as error:
            replies.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    act(engine)
    thread.join(10)
    assert not thread.is_alive()
    return replies[0]


def test_a_publication_wakes_who_waits() -> None:
    assert reply_when(lambda engine: publish(engine, step=5)).step == 5


def test_the_end_wakes_who_waits() -> None:
    assert isinstance(reply_when(Engine.close), ClosedError)
