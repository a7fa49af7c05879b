"""Forms of the graph regularizer, and rows that it trains, against loops in float64 with torch's autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import carls
from carls.errors import InvalidSpecError, InvalidValueError
from carls.torch import Contrastive, GraphRegularizer, SquaredDistance

DIM = 4
STEP = 100
LR = 0.5
#: vertex -> step at which it was written; 20 and 21 are missing.
WRITTEN = {0: 100, 1: 99, 2: 90, 3: 89, 4: 50, 5: 0, 6: 95, 7: 100}
OWN = [0, 7, 3, 20, 2, 9]
NEIGHBOURS = [[1, 2, 3], [0], [], [20, 21], [4, 5, 21, 6, 0, 2], [1, 7, 1]]
WEIGHTS = [[1.0, 0.5, 0.25], [3.0], [], [1.0, 1.0], [0.0, 2.0, 1.0, 0.5, 0.1, 1.0], [1.0, 0.0, 2.0]]


@pytest.fixture
def table():
    generator = np.random.default_rng(1)
    with carls.connect() as bank:
        table = bank.embeddings("vertices", dim=DIM, keys="int64", optimizer=carls.SGD(lr=LR))
        for vertex, step in WRITTEN.items():
            table.assign([vertex], generator.normal(size=(1, DIM)).astype(np.float32), step=step)
        yield table


@pytest.fixture
def outputs():
    return torch.randn(len(NEIGHBOURS), DIM, generator=torch.Generator().manual_seed(2), requires_grad=True)


def squared(f, near, rows, **_):
    distance = sum(w * ((f - rows[j]) ** 2).sum() for j, w in near)
    return distance / sum(w for _, w in near)


def contrastive(f, near, rows, *, own, listed, temperature):
    total = sum(w for _, w in near)
    likeness = {j: torch.exp(torch.cosine_similarity(f, row, dim=0) / temperature) for j, row in rows.items()}
    positive = sum(w / total * likeness[j] for j, w in near)
    others = [likeness[j] for j in rows if j not in listed and j != own]
    return -torch.log(positive / (positive + sum(others))) if others else torch.zeros(())


FORMS = {
    "squared": (SquaredDistance(), squared, {}),
    "contrastive": (Contrastive(temperature=0.7), contrastive, {"temperature": 0.7}),
}


def reference(outputs, values, formula, options, on, usable):
    """(loss, gradient by the outputs, gradient by each row), edge by edge."""
    logits = outputs.detach().double().requires_grad_()
    listed = sorted({j for near in NEIGHBOURS for j in near if j in usable})
    rows = {j: torch.from_numpy(values[j].astype(np.float64)).requires_grad_() for j in listed}
    seeds = torch.softmax(logits, dim=1) if on == "probabilities" else logits
    total = torch.zeros((), dtype=torch.float64)
    for i, near in enumerate(NEIGHBOURS):
        kept = [(j, w) for j, w in zip(near, WEIGHTS[i], strict=True) if j in usable]
        if sum(w for _, w in kept) > 0:
            total = total + formula(seeds[i], kept, rows, own=OWN[i], listed=near, **options)
    loss = 2.5 / len(NEIGHBOURS) * total
    loss.backward()
    nothing = torch.zeros(DIM, dtype=torch.float64)
    return loss.item(), logits.grad, {j: nothing if r.grad is None else r.grad for j, r in rows.items()}


@pytest.mark.parametrize("on", ["probabilities", "logits"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("oldest", [-1, 90])
@pytest.mark.parametrize("rows", ["made", "trained"])
def test_loss_and_gradients_equal_the_loop(table, outputs, on, form, oldest, rows):
    policy, formula, options = FORMS[form]
    everything = [*WRITTEN, 20, 21]
    if rows == "trained":  # a look-up for training creates what is missing; made here to know the values
        table.lookup([20, 21])
    before = dict(zip(everything, table.lookup(everything, create=False).values, strict=True))
    usable = {j for j, step in WRITTEN.items() if step >= oldest}
    if rows == "trained":
        usable |= {20, 21}
    module = GraphRegularizer(
        table, form=policy, rows=rows, on=on, weight=2.5, max_age_steps=None if oldest < 0 else STEP - oldest
    )
    loss = module(outputs, NEIGHBOURS, WEIGHTS, step=STEP, keys=OWN)
    expected, by_outputs, by_rows = reference(outputs, before, formula, options, on, usable)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(outputs.grad.double(), by_outputs, rtol=1e-4, atol=1e-6)
    table.flush()
    after = dict(zip(everything, table.lookup(everything, create=False).values, strict=True))
    for key in everything:
        gradient = by_rows[key].numpy() if rows == "trained" and key in by_rows else np.zeros(DIM)
        np.testing.assert_allclose(after[key], before[key] - LR * gradient, rtol=1e-4, atol=1e-6)
    if rows == "trained":
        assert any(np.abs(gradient.numpy()).max() > 1e-3 for gradient in by_rows.values())


@pytest.mark.parametrize("form", FORMS)
def test_within_autocast_the_loss_is_that_in_float32(table, outputs, form):
    module = GraphRegularizer(table, form=FORMS[form][0], on="logits")
    plain = module(outputs, NEIGHBOURS, WEIGHTS, step=STEP, keys=OWN)
    (wanted,) = torch.autograd.grad(plain, outputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(outputs, NEIGHBOURS, WEIGHTS, step=STEP, keys=OWN)
    assert loss.item() == plain.item()
    torch.testing.assert_close(torch.autograd.grad(loss, outputs)[0], wanted)


def test_rows_that_are_left_out_are_not_touched_by_training(table, outputs):
    module = GraphRegularizer(table, rows="trained", on="logits", max_age_steps=10)
    versions = table.lookup([3, 4, 5], create=False).version.tolist()
    module(outputs, NEIGHBOURS, step=STEP).backward()
    table.flush()
    assert table.lookup([3, 4, 5], create=False).version.tolist() == versions
    assert table.lookup([0], create=False).step.tolist() == [STEP]


def test_training_creates_rows_and_evaluation_does_not(table, outputs):
    module = GraphRegularizer(table, rows="trained", on="logits").eval()
    module(outputs, NEIGHBOURS, step=STEP)
    assert not table.lookup([20], create=False).found[0]
    module.train()
    module(outputs, NEIGHBOURS, step=STEP).backward()
    table.flush()
    rows = table.lookup([20, 21], create=False)
    assert rows.found.all()
    assert rows.version.tolist() == [1, 1]


def test_trained_rows_need_an_optimizer():
    with carls.connect() as bank:
        plain = bank.embeddings("plain", dim=DIM)
        with pytest.raises(InvalidSpecError, match="no optimizer"):
            GraphRegularizer(plain, rows="trained")


def test_a_vertex_without_others_to_be_told_apart_from_adds_nothing(table, outputs):
    module = GraphRegularizer(table, form="contrastive", on="logits")
    loss = module(outputs[:1], [[1, 2]], step=STEP, keys=[3])
    loss.backward()
    assert loss.item() == 0.0
    assert not outputs.grad.any()


def test_the_contrastive_form_needs_to_know_the_vertices(table, outputs):
    module = GraphRegularizer(table, form=Contrastive())
    with pytest.raises(InvalidValueError, match="keys="):
        module(outputs, NEIGHBOURS, step=STEP)
    with pytest.raises(InvalidValueError, match="2 keys for outputs of 6"):
        module(outputs, NEIGHBOURS, step=STEP, keys=[1, 2])


def test_what_prefetch_gave_stands_for_the_lists(table, outputs, monkeypatch):
    module = GraphRegularizer(table, form="contrastive")
    expected = module(outputs, NEIGHBOURS, WEIGHTS, step=STEP, keys=OWN).item()
    calls = []
    call = table.bank._transport.call
    monkeypatch.setattr(table.bank._transport, "call", lambda *args: calls.append(args) or call(*args))
    ahead = module.prefetch(NEIGHBOURS, WEIGHTS, step=STEP, keys=OWN)
    assert module(outputs, ahead, step=STEP).item() == expected
    assert len(calls) == 1
    for wrong in ({"weights": WEIGHTS}, {"keys": OWN}):
        with pytest.raises(InvalidValueError, match="prefetch"):
            module(outputs, ahead, **wrong, step=STEP)
    with pytest.raises(InvalidValueError, match="of 6 vertices"):
        module(outputs[:2], ahead, step=STEP)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"form": "cubic"}, InvalidSpecError, "contrastive"),
        ({"rows": "both"}, InvalidValueError, "trained"),
    ],
)
def test_arguments_that_cannot_be_are_refused(table, options, error, message):
    with pytest.raises(error, match=message):
        GraphRegularizer(table, **options)


def test_a_temperature_that_cannot_be_is_refused():
    with pytest.raises(InvalidSpecError, match="temperature"):
        Contrastive(temperature=0.0)
