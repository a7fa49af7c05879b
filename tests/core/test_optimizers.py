"""Optimizers inside the bank equal torch's, and the published definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank.embeddings import EmbeddingTable
from carls.messages import AgeBound
from carls.specs import EmbeddingSpec
from carls.specs.embeddings import MAX_TRAINED
from carls.testing.optimizers import OptimizerState, clip, step

DIMS = [1, 3, 16, 64, 100]
STEPS = 60
ROWS = 30

#: Each with torch's optimizer of the same arguments.
TORCH: dict[str, tuple[carls.Optimizer, Callable[[Any], Any]]] = {
    "sgd": (carls.SGD(lr=0.03), lambda p: torch.optim.SGD(p, lr=0.03)),
    "sgd-decay": (
        carls.SGD(lr=0.03, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.03, weight_decay=0.1),
    ),
    "momentum": (carls.Momentum(lr=0.01), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "nesterov-decay": (
        carls.Momentum(lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    "adagrad": (carls.Adagrad(lr=0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    "adagrad-start-decay": (
        carls.Adagrad(lr=0.1, initial_accumulator=0.5, eps=1e-3, weight_decay=0.1),
        lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5, eps=1e-3, weight_decay=0.1),
    ),
    "adam": (carls.Adam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam-decay": (
        carls.Adam(lr=0.01, beta1=0.8, beta2=0.99, eps=1e-4, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1),
    ),
}

#: All of them, for comparison with the definitions in numpy.
OPTIMIZERS: dict[str, carls.Optimizer] = {
    **{name: optimizer for name, (optimizer, _) in TORCH.items()},
    "rowwise": carls.RowwiseAdagrad(lr=0.1),
    "rowwise-start-decay": carls.RowwiseAdagrad(lr=0.1, initial_accumulator=0.5, eps=1e-3, weight_decay=0.1),
    "ftrl": carls.FTRL(lr=0.1),
    "ftrl-sparse": carls.FTRL(lr=0.1, beta=0.5, l1=2.0, l2=0.3, initial_accumulator=0.1),
    "ftrl-power": carls.FTRL(lr=0.1, beta=0.0, lr_power=-0.3, l1=0.5, initial_accumulator=0.1),
    "clipped": carls.Adam(lr=0.01, max_norm=3.0),
    "clipped-decay": carls.Momentum(lr=0.01, max_norm=3.0, weight_decay=0.1),
}


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def gradients_of(rng: np.random.Generator, n: int, dim: int) -> Any:
    return rng.standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize("case", sorted(TORCH))
@pytest.mark.parametrize("dim", DIMS)
def test_equals_torch_where_every_row_is_touched(case: str, dim: int) -> None:
    optimizer, make = TORCH[case]
    rng = np.random.default_rng(dim)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim, optimizer=optimizer, initializer=carls.Normal(1.0))
        weight = torch.nn.Parameter(torch.from_numpy(table.lookup(np.arange(ROWS)).values.copy()))
        reference = make([weight])
        for _ in range(STEPS):
            ids = rng.permutation(np.r_[np.arange(ROWS), rng.integers(0, ROWS, 10)])  # with duplicates
            gradients = gradients_of(rng, len(ids), dim)
            table.push_gradients(ids, gradients)
            weight.grad = torch.zeros_like(weight).index_add_(
                0, torch.from_numpy(ids), torch.from_numpy(gradients)
            )
            reference.step()
        close(table.lookup(np.arange(ROWS)).values, weight.detach().numpy())


@pytest.mark.parametrize("case", ["sgd", "adagrad"])
def test_equals_torch_on_sparse_gradients(case: str) -> None:
    optimizer, make = TORCH[case]
    run_sparse(optimizer, make, lambda rng: rng.integers(0, ROWS, 20))


def test_adam_equals_sparse_adam_where_every_row_is_touched() -> None:
    # SparseAdam adds eps before its correction, we after it, as torch's Adam: a tiny eps is no difference.
    run_sparse(
        carls.Adam(lr=0.01, eps=1e-15),
        lambda p: torch.optim.SparseAdam(p, lr=0.01, eps=1e-15),
        lambda rng: rng.permutation(np.r_[np.arange(ROWS), np.arange(5)]),
    )


def run_sparse(
    optimizer: carls.Optimizer, make: Callable[[Any], Any], pick: Callable[[np.random.Generator], Any]
) -> None:
    rng = np.random.default_rng(0)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=16, optimizer=optimizer, initializer=carls.Normal(1.0))
        weight = torch.nn.Parameter(torch.from_numpy(table.lookup(np.arange(ROWS)).values.copy()))
        reference = make([weight])
        for _ in range(STEPS):
            ids = pick(rng)
            gradients = gradients_of(rng, len(ids), 16)
            table.push_gradients(ids, gradients)
            weight.grad = torch.sparse_coo_tensor(
                torch.from_numpy(ids)[None], torch.from_numpy(gradients), weight.shape, check_invariants=True
            )
            reference.step()
        close(table.lookup(np.arange(ROWS)).values, weight.detach().numpy())


@pytest.mark.parametrize("case", sorted(OPTIMIZERS))
@pytest.mark.parametrize("dim", DIMS)
def test_equals_the_definition_row_by_row(case: str, dim: int) -> None:
    optimizer = OPTIMIZERS[case]
    rng = np.random.default_rng(dim)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim, optimizer=optimizer, initializer=carls.Normal(1.0))
        values = list(table.lookup(np.arange(ROWS)).values.astype(np.float64))
        states = [OptimizerState.of(optimizer, value) for value in values]
        for _ in range(STEPS):
            ids = rng.integers(0, ROWS, 20)  # some rows, with duplicates
            gradients = gradients_of(rng, 20, dim)
            table.push_gradients(ids, gradients)
            for key in np.unique(ids):
                values[key] = step(optimizer, values[key], states[key], gradients[ids == key].sum(0))
        close(table.lookup(np.arange(ROWS)).values, np.array(values))


@settings(max_examples=40, deadline=None)
@given(
    case=st.sampled_from(sorted(OPTIMIZERS)),
    dim=st.integers(1, 70),
    batches=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=6),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_batches_of_any_shape_follow_the_definition(
    case: str, dim: int, batches: list[list[int]], scale: float, seed: int
) -> None:
    optimizer = OPTIMIZERS[case]
    rng = np.random.default_rng(seed)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=dim, optimizer=optimizer, initializer=carls.Normal(1.0))
        values = list(table.lookup(np.arange(6)).values)
        states = [OptimizerState.of(optimizer, value) for value in values]
        for ids in batches:
            gradients = gradients_of(rng, len(ids), dim) * np.float32(scale)
            table.push_gradients(ids, gradients)
            sums: dict[int, Any] = {}
            for key, gradient in zip(ids, gradients, strict=True):
                sums[key] = sums[key] + gradient if key in sums else gradient
            for key, gradient in sums.items():
                values[key] = step(optimizer, values[key], states[key], gradient)
        expected = np.array(values)
        size = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(table.lookup(np.arange(6)).values, expected, rtol=1e-5, atol=1e-5 * size)


def test_ftrl_is_the_papers_algorithm() -> None:
    """Algorithm 1 of McMahan et al. 2013, for one coordinate, as printed there."""
    alpha, beta, lambda1, lambda2 = 0.1, 1.0, 1.5, 0.2
    rng = np.random.default_rng(0)
    n = z = w = 0.0
    zeros = 0
    with carls.connect() as bank:
        optimizer = carls.FTRL(lr=alpha, beta=beta, l1=lambda1, l2=lambda2)
        table = bank.embeddings("t", dim=1, optimizer=optimizer, initializer="zeros")
        for _ in range(STEPS):
            if abs(z) <= lambda1:
                w = 0.0
                zeros += 1
            else:
                w = -1 / ((beta + np.sqrt(n)) / alpha + lambda2) * (z - np.sign(z) * lambda1)
            close(table.lookup([7]).values[0, 0], w)
            g = np.float32(rng.standard_normal() + 0.3)
            sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / alpha
            z += g - sigma * w
            n += g**2
            table.push_gradients([7], np.full((1, 1), g, np.float32))
    assert 0 < zeros < STEPS


def test_rowwise_adagrad_has_one_accumulator_a_row() -> None:
    with carls.connect() as bank:
        one = {"dim": 4, "initializer": "zeros"}
        table = bank.embeddings("t", optimizer=carls.RowwiseAdagrad(lr=1.0), **one)
        table.push_gradients([1], np.array([[2.0, 0.0, 0.0, 0.0]], np.float32))
        close(table.lookup([1]).values, [[-2.0, 0.0, 0.0, 0.0]])  # sum = 4 / 4
        table.push_gradients([1], np.array([[0.0, 0.0, 0.0, 1.0]], np.float32))
        close(table.lookup([1]).values, [[-2.0, 0.0, 0.0, -1 / np.sqrt(1.25)]])


def test_adams_first_step_of_a_row_is_lr_whenever_it_comes() -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=2, optimizer=carls.Adam(lr=0.5), initializer="zeros")
        for _ in range(50):
            table.push_gradients([1], np.ones((1, 2), np.float32))
        table.push_gradients([2], np.array([[3.0, -1e-3]], np.float32))
        np.testing.assert_allclose(table.lookup([2]).values, [[-0.5, 0.5]], rtol=1e-4)


@pytest.mark.parametrize("case", ["momentum", "adagrad", "rowwise", "adam", "ftrl"])
def test_an_erased_row_forgets_its_state_and_an_assigned_one_keeps_it(case: str) -> None:
    optimizer = OPTIMIZERS[case]
    early, late = np.full((2, 5), 2.0, np.float32), np.full((2, 5), -1.0, np.float32)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=5, optimizer=optimizer, initializer="zeros")
        table.push_gradients(["new"], late[:1])
        first = table.lookup(["new"]).values
        for _ in range(5):
            table.push_gradients(["assigned", "erased"], early)
        table.erase(["erased"])
        table.assign(["assigned"], np.zeros((1, 5), np.float32))
        table.push_gradients(["assigned", "erased"], late)
        np.testing.assert_array_equal(table.lookup(["erased"]).values, first)
        assert np.abs(table.lookup(["assigned"]).values - first).min() > 1e-3


@settings(max_examples=30, deadline=None)
@given(
    dim=st.integers(1, 40),
    ids=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    max_norm=st.sampled_from([1e-20, 0.5, 3.0, 1e20]),
    scale=st.sampled_from([1e-30, 1.0, 1e12]),
    seed=st.integers(0, 2**32 - 1),
)
def test_clipped_rows_are_counted_exactly(
    dim: int, ids: list[int], max_norm: float, scale: float, seed: int
) -> None:
    optimizer = carls.SGD(lr=1.0, max_norm=max_norm)
    gradients = gradients_of(np.random.default_rng(seed), len(ids), dim) * np.float32(scale)
    sums: dict[int, Any] = {}
    for key, gradient in zip(ids, gradients, strict=True):
        sums[key] = sums[key] + gradient if key in sums else gradient
    table = EmbeddingTable("t", EmbeddingSpec(dim=dim, optimizer=optimizer, initializer=carls.Zeros()))
    written = table.push(carls.Keys.of(ids), gradients, step=-1, producer=0, now=1)
    assert written.rows == len(sums)
    assert written.clipped == sum(clip(optimizer, gradient)[1] for gradient in sums.values())
    for key, gradient in sums.items():
        values, _ = table.lookup(carls.Keys.of([key]), False, AgeBound(), 1)
        np.testing.assert_allclose(values[0], -clip(optimizer, gradient)[0], rtol=2e-6, atol=0)


@pytest.mark.parametrize("case", sorted(OPTIMIZERS))
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 2e15])
def test_gradients_that_cannot_be_change_nothing(case: str, wrong: float) -> None:
    with carls.connect() as bank:
        tables = [
            bank.embeddings(name, dim=3, optimizer=OPTIMIZERS[case], initializer="zeros") for name in "ab"
        ]
        gradients = np.ones((300, 3), np.float32)
        keys = np.arange(300)
        for table in tables:
            table.push_gradients(keys, gradients)
        bad = gradients.copy()
        bad[299, 2] = wrong
        with pytest.raises(carls.InvalidValueError, match="row 299, element 2"):
            tables[0].push_gradients(keys, bad)
        for table in tables:
            table.push_gradients(keys, gradients)
        one, other = (table.lookup(keys) for table in tables)
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.version == 2).all()


@pytest.mark.parametrize("case", sorted(OPTIMIZERS))
def test_the_largest_gradients_leave_finite_rows(case: str) -> None:
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=100, optimizer=OPTIMIZERS[case], initializer="zeros")
        for _ in range(3):
            table.push_gradients([1, 1], np.full((2, 100), 0.99 * MAX_TRAINED / 2, np.float32))
            table.push_gradients([1], np.zeros((1, 100), np.float32))
        assert np.isfinite(table.lookup([1]).values).all()
