"""The School data, as tasks' samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def school(data_folder: Path) -> tuple[list[Any], list[Any]]:
    """Features and examination scores of the pupils of each of 139 schools."""
    data = np.load(data_folder / "school" / "school.npz")
    rows = [data["task"] == task for task in range(139)]
    return [data["x"][row].astype(float) for row in rows], [data["y"][row].astype(float) for row in rows]
