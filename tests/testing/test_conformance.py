"""The shipped conformance suite, over every kind of bank."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import carls
from carls.testing import BankConformance


class TestInProcess(BankConformance):
    """The bank in this process."""

    @pytest.fixture
    def bank(self) -> Iterator[carls.Bank]:
        with carls.connect() as bank:
            yield bank
