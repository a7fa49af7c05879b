"""Errors survive the wire, as long as gRPC lets them."""

from __future__ import annotations

import pytest

from carls import errors
from carls.wire.failures import from_flight, to_flight

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_survives(kind: type[errors.CarlsError]) -> None:
    error = kind("what, expected, remedy: ä", bank="grpc://b", table="t", details={"limit": 3})
    told = from_flight(to_flight(error))
    assert type(told) is kind
    assert told.to_json() == error.to_json()


@pytest.mark.parametrize("letter", ["a", "ä", "\U0001f600", '"', "\\", "\n"])
def test_a_long_error_is_shortened_to_what_grpc_carries(letter: str) -> None:
    error = errors.UnknownTableError(
        "begin " + letter * 100_000 + " end",
        table=letter * 9000,
        bank=letter * 9000,
        details={"x": "y" * 9000},
    )
    packed = to_flight(error)
    assert len(packed.extra_info) < 6000
    told = from_flight(packed)
    assert type(told) is errors.UnknownTableError
    assert told.message.startswith("begin ")
    assert told.message.endswith(" end")


@pytest.mark.parametrize("extra", [b"", b"no json", b"[]", b"\xff"])
def test_other_extra_info_is_no_error_of_carls(extra: bytes) -> None:
    class Broken(Exception):
        extra_info = extra

    assert from_flight(Broken()) is None


def test_an_ordinary_exception_is_no_error_of_carls() -> None:
    assert from_flight(ValueError("x")) is None
