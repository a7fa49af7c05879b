"""GraphRegularizer against a looped reference in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import carls
from carls.errors import InvalidValueError
from carls.torch import GraphRegularizer

DIM = 4
STEP = 100
#: vertex -> step at which it was written; 8 and 9 are only created, 10 and 11 are missing.
WRITTEN = {0: 100, 1: 99, 2: 90, 3: 89, 4: 50, 5: 0, 6: 95, 7: 100}
NEIGHBOURS = [[1, 2, 3], [0], [], [8, 10], [4, 5, 11, 6, 0, 2], [9, 7]]
WEIGHTS = [[1.0, 0.5, 0.25], [3.0], [], [1.0, 1.0], [0.0, 2.0, 1.0, 0.5, 0.1, 1.0], [1.0, 0.0]]


@pytest.fixture(params=["float32", "float16"])
def table(request):
    generator = np.random.default_rng(1)
    with carls.connect() as bank:
        table = bank.embeddings("vertices", dim=DIM, dtype=request.param, keys="int64")
        for vertex, step in WRITTEN.items():
            table.assign([vertex], generator.random((1, DIM), np.float32), step=step)
        table.lookup([8, 9])
        yield table


@pytest.fixture
def outputs():
    return torch.randn(len(NEIGHBOURS), DIM, generator=torch.Generator().manual_seed(2), requires_grad=True)


def reference(outputs, table, *, on, weight, ramp, neighbours, weights, oldest, k=None):
    """The formula of the class docstring, edge by edge; (loss, gradient)."""
    logits = outputs.detach().double().requires_grad_()
    seeds = torch.softmax(logits, dim=1) if on == "probabilities" else logits
    total = torch.zeros((), dtype=torch.float64)
    for i, near in enumerate(neighbours):
        distance, sum_of_weights = torch.zeros((), dtype=torch.float64), 0.0
        for j, w in list(zip(near, weights[i], strict=True))[:k]:
            if j not in WRITTEN or WRITTEN[j] < oldest:
                continue
            row = torch.from_numpy(table.lookup([j], create=False).values[0].astype(np.float64))
            distance = distance + w * ((seeds[i] - row) ** 2).sum()
            sum_of_weights += w
        if sum_of_weights > 0:
            total = total + distance / sum_of_weights
    loss = weight * ramp / len(neighbours) * total
    loss.backward()
    return loss.item(), logits.grad.float()


@pytest.mark.parametrize("on", ["probabilities", "logits"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_age_steps", [None, 10, 0])
@pytest.mark.parametrize("max_neighbours", [None, 2])
def test_loss_and_gradient_equal_the_loop(table, outputs, on, weighted, max_age_steps, max_neighbours):
    module = GraphRegularizer(
        table, on=on, weight=2.5, ramp_steps=400, max_neighbours=max_neighbours, max_age_steps=max_age_steps
    )
    loss = module(outputs, NEIGHBOURS, WEIGHTS if weighted else None, step=STEP)
    loss.backward()
    expected, gradient = reference(
        outputs,
        table,
        on=on,
        weight=2.5,
        ramp=STEP / 400,
        neighbours=NEIGHBOURS,
        weights=WEIGHTS if weighted else [[1.0] * len(near) for near in NEIGHBOURS],
        oldest=-1 if max_age_steps is None else STEP - max_age_steps,
        k=max_neighbours,
    )
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(outputs.grad, gradient, rtol=1e-4, atol=1e-6)


def test_ramp_grows_linearly_to_the_full_weight(table, outputs):
    module = GraphRegularizer(table, weight=3.0, ramp_steps=200)
    full = GraphRegularizer(table, weight=3.0)(outputs, NEIGHBOURS, step=0).item()
    losses = [module(outputs, NEIGHBOURS, step=step).item() for step in (0, 50, 200, 999)]
    assert losses == pytest.approx([0.0, full / 4, full, full], rel=1e-5)


def test_read_tells_staleness_and_what_was_left_out(table, outputs):
    module = GraphRegularizer(table, max_age_steps=10)
    module(outputs, NEIGHBOURS, step=STEP)
    # Of 14 edges: 1, 2 | 0 | | | 6, 0, 2 | 7 are written and at most 10 steps old.
    assert module.last_read.staleness.tolist() == [1, 10, 0, 5, 0, 10, 0]
    assert module.last_read.masked == pytest.approx(1 - 7 / 14)


def test_rows_without_a_step_have_no_staleness(table, outputs):
    table.assign([20], np.zeros((1, DIM), np.float32))
    module = GraphRegularizer(table)
    module(outputs[:1], [[20]], step=STEP)
    assert module.last_read.staleness.tolist() == []
    assert module.last_read.masked == 0.0


def test_no_neighbours_give_a_loss_of_zero_that_can_be_trained_on(table, outputs):
    for lists in ([[]] * len(outputs), [[10]] * len(outputs)):
        outputs.grad = None
        loss = GraphRegularizer(table)(outputs, lists, step=STEP)
        loss.backward()
        assert loss.item() == 0.0
        assert not outputs.grad.any()
    assert not table.lookup([10], create=False).found[0], "a look-up for the loss created a row"


def test_neighbours_come_in_many_forms(table, outputs):
    lists = [[1, 2], [0, 3], [4, 5], [6, 7], [0, 1], [2, 3]]
    graph = table.bank.features("graph", {"near": "list<int64>", "weight": "list<float32>"})
    weights = [[0.5, 1.0]] * 6
    graph.assign(np.arange(6), {"near": lists, "weight": weights})
    row = graph.lookup(np.arange(6))
    module = GraphRegularizer(table)
    expected = module(outputs, lists, weights, step=STEP).item()
    array = np.array(lists)
    for near, weight in [
        (array, np.array(weights)),
        (torch.tensor(lists), torch.tensor(weights)),
        (list(array), weights),
        (row["near"], row["weight"]),
    ]:
        assert module(outputs, near, weight, step=STEP).item() == pytest.approx(expected, rel=1e-6)


def test_string_neighbours_of_a_feature_table(outputs):
    with carls.connect() as bank:
        table = bank.embeddings("vertices", dim=DIM)
        table.assign(["a", "b"], np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32), step=1)
        graph = bank.features("graph", {"near": "list<string>"})
        graph.assign(["x", "y"], {"near": [["a", "b"], ["b"]]})
        near = graph.lookup(["x", "y"])["near"]
        module = GraphRegularizer(table, on="logits", max_neighbours=1)
        expected = [[1, 0, 0, 0], [0, 1, 0, 0]] - outputs[:2].detach().numpy()
        assert module(outputs[:2], near, step=1).item() == pytest.approx((expected**2).sum() / 2, rel=1e-5)


def test_prefetched_look_up_is_taken_and_equal(table, outputs, monkeypatch):
    module = GraphRegularizer(table, max_age_steps=10)
    expected = module(outputs, NEIGHBOURS, step=STEP).item()
    calls = []
    call = table.bank._transport.call
    monkeypatch.setattr(table.bank._transport, "call", lambda *args: calls.append(args) or call(*args))
    module.prefetch(NEIGHBOURS, step=STEP)
    assert module(outputs, NEIGHBOURS, step=STEP).item() == expected
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": "features"}, "features"),
        ({"weight": -1.0}, "-1.0"),
        ({"weight": float("nan")}, "nan"),
        ({"ramp_steps": -5}, "-5"),
        ({"max_neighbours": 0}, "max_neighbours=0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(table, changes, message):
    with pytest.raises(InvalidValueError, match=message):
        GraphRegularizer(table, **changes)


@pytest.mark.parametrize(
    ("neighbours", "weights", "message"),
    [
        ([[1]], None, "1 neighbour lists for outputs of 6"),
        ([[1]] * 6, [[1.0, 2.0]] * 6, "same lengths"),
        ([[1]] * 6, [[-1.0]] * 6, ">= 0"),
        ([[1]] * 6, [[float("inf")]] * 6, "finite"),
        (np.arange(6), None, r"\(n, k\)"),
        (["ab"] * 6, None, "list of keys for each vertex"),
    ],
)
def test_lists_that_do_not_fit_are_refused(table, outputs, neighbours, weights, message):
    with pytest.raises(InvalidValueError, match=message):
        GraphRegularizer(table)(outputs, neighbours, weights, step=STEP)


def test_outputs_of_another_width_are_refused(table):
    with pytest.raises(InvalidValueError, match=r"\(n, 4\)"):
        GraphRegularizer(table)(torch.zeros(2, 3), [[1], [2]], step=0)
