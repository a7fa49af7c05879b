"""The tree of errors: the same on both sides of the wire."""

from __future__ import annotations

import pickle

import pytest

import carls
from carls import errors

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error_class", ALL)
def test_errors_survive_json_and_copies(error_class: type[carls.CarlsError]) -> None:
    error = error_class("what, expected, remedy", bank="b", table="t", details={"limit": 3})
    for copy in (errors.from_json(error.to_json()), pickle.loads(pickle.dumps(error))):
        assert type(copy) is error_class
        assert str(copy) == "what, expected, remedy"
        assert (copy.bank, copy.table, copy.details) == ("b", "t", {"limit": 3})


def test_an_unknown_code_is_still_a_carls_error() -> None:
    error = errors.from_json({"code": "FromTheFutureError", "message": "m"})
    assert type(error) is carls.CarlsError


def test_the_tree_stands_in_pythons_own() -> None:
    assert issubclass(carls.InvalidRequestError, ValueError)
    assert issubclass(carls.UnavailableError, ConnectionError)
    assert issubclass(carls.OutcomeUnknownError, TimeoutError)
    assert issubclass(carls.OutcomeUnknownError, carls.DeadlineExceededError)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(carls.__all__)
