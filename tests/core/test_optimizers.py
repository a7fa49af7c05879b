"""Optimizers inside the bank equal torch's on the touched rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import carls

CASES = {
    "sgd": (carls.SGD(lr=0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
    "adagrad": (carls.Adagrad(lr=0.3), lambda p: torch.optim.Adagrad(p, lr=0.3)),
    "adagrad-start": (
        carls.Adagrad(lr=0.1, initial_accumulator=0.5, eps=1e-3),
        lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5, eps=1e-3),
    ),
}


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("dim", [1, 3, 8, 64, 100])
def test_equals_torch(case: str, dim: int) -> None:
    optimizer, make = CASES[case]
    rng = np.random.default_rng(0)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim, optimizer=optimizer, initializer=carls.Normal(1.0))
        rows = 50
        layer = torch.nn.Embedding.from_pretrained(
            torch.from_numpy(table.lookup(np.arange(rows)).values.copy()), freeze=False, sparse=True
        )
        reference: Any = make(layer.parameters())
        for _ in range(30):
            ids = rng.integers(0, rows, 40)  # with duplicates
            gradients = rng.standard_normal((40, dim)).astype(np.float32)
            table.push_gradients(ids, gradients)
            reference.zero_grad()
            (layer(torch.from_numpy(ids)) * torch.from_numpy(gradients)).sum().backward()
            reference.step()
        got = table.lookup(np.arange(rows)).values
    np.testing.assert_allclose(got, layer.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
