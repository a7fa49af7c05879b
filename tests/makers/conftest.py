from __future__ import annotations

import sys
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
