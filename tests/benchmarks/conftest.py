"""Benchmarks run in this process, and leave its threads as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import torch


@pytest.fixture(autouse=True)
def threads_restored(monkeypatch: Any) -> Iterator[None]:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    torch_threads, arrow_threads = torch.get_num_threads(), pa.cpu_count()
    yield
    torch.set_num_threads(torch_threads)
    pa.set_cpu_count(arrow_threads)
    torch.sparse.check_sparse_tensor_invariants.disable()
