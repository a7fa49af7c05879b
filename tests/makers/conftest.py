from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

import carls

sys.path.insert(0, str(Path(__file__).parent))  # `sample_makers`, here and in spawned processes


@pytest.fixture
def server(hosted):
    return hosted


@pytest.fixture
def bank(server):
    with carls.connect(server.url) as bank:
        yield bank


@pytest.fixture
def publish():
    def publish(bank, step, factor):
        bank.models.publish("model", {"factor": np.array([factor], np.float32)}, step=step)

    return publish


@pytest.fixture
def until():
    """Wait for a condition, with a deadline."""

    def until(condition, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not (result := condition()):
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.01)
        return result

    return until
