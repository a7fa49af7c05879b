"""What tests of multi-task learning share: data, servers, waits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carls
from carls.service import BankProcess

sys.path.insert(0, str(Path(__file__).parent))  # `problems`, here and in spawned processes


@pytest.fixture
def school(data_folder: Path) -> tuple[list[Any], list[Any]]:
    """Features and examination scores of the pupils of each of 139 schools."""
    data = np.load(data_folder / "school" / "school.npz")
    rows = [data["task"] == task for task in range(139)]
    return [data["x"][row].astype(float) for row in rows], [data["y"][row].astype(float) for row in rows]


@pytest.fixture(scope="module")
def server() -> Iterator[BankProcess]:
    """A bank server in a process of its own, for the tests of a file."""
    with BankProcess() as process:
        yield process


@pytest.fixture(params=["in this process", "a server"])
def bank(request: pytest.FixtureRequest) -> Iterator[carls.Bank]:
    """A bank of either kind, empty."""
    url = None if request.param == "in this process" else request.getfixturevalue("server").url
    with carls.connect(url) as bank:
        yield bank
        for table in bank.tables():
            bank.drop(table.name)
