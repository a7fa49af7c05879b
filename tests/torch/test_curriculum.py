"""CurriculumLoss against a loop in float64, and what it does when the bank knows nothing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

import carls
from carls.bank import Engine
from carls.errors import InvalidRequestError, InvalidSpecError, InvalidValueError
from carls.makers import LabelMaker, LabelQualityMaker
from carls.torch import CurriculumLoss, Filter, Relabel, SoftWeights

CLASSES = 4
STEP = 100
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1, 2])
#: key -> step, probability, agreement, label of a LabelMaker, its confidence. Key 6 has no row.
ROWS = {
    0: (100, 0.9, 1.0, 0, 0.9),
    1: (95, 0.5, 0.45, 2, 0.7),
    2: (90, 0.1, 0.0, 3, 0.8),
    3: (89, 0.2, 0.1, 1, 0.95),
    4: (100, 0.7, 0.6, -1, 0.3),
    5: (100, 0.3, 0.5, 2, 0.5),
}
KEYS = list(range(7))
#: Made for another label than the example has now.
ABOUT_ANOTHER = 5


def fill(quality, labels):
    for key, (step, probability, agreement, label, confidence) in ROWS.items():
        given = int(TARGETS[key]) + (key == ABOUT_ANOTHER)
        columns = {"given": given, "probability": probability, "agreement": agreement, "forgotten": 0}
        columns |= {"agrees": True, "checkpoints": 3}
        quality.assign([key], {name: [value] for name, value in columns.items()}, step=step)
        labels.assign([key], {"label": [label], "confidence": [confidence]}, step=step)


@pytest.fixture
def bank():
    with carls.connect() as bank:
        yield bank


def tables_of(bank):
    """Filled tables, by the curriculum that reads them."""
    quality = bank.features("quality", LabelQualityMaker.QUALITY, keys="int64")
    labels = bank.features("labels", LabelMaker.LABELS, keys="int64")
    fill(quality, labels)
    return {"soft_weights": quality, "filter": quality, "relabel": labels}


@pytest.fixture
def tables(bank):
    return tables_of(bank)


@pytest.fixture
def outputs():
    return torch.randn(len(KEYS), CLASSES, generator=torch.Generator().manual_seed(2), requires_grad=True)


def known(key, curriculum, oldest):
    if key not in ROWS or ROWS[key][0] < oldest:
        return False
    return curriculum.name == "relabel" or key != ABOUT_ANOTHER


def reference(outputs, curriculum, strength, oldest, smoothing):
    """The formula of the class docstring, example by example; (loss, gradient, weights)."""
    logits = outputs.detach().double().requires_grad_()
    total, weights = torch.zeros((), dtype=torch.float64), []
    for key in KEYS:
        target, weight = int(TARGETS[key]), 1.0
        if known(key, curriculum, oldest):
            _, probability, agreement, label, confidence = ROWS[key]
            if curriculum.name == "soft_weights":
                weight = probability**curriculum.power
            elif curriculum.name == "filter":
                weight = float(agreement >= curriculum.threshold)
            elif confidence >= curriculum.threshold and label >= 0:
                target = label

        def loss(target, key=key):
            return functional.cross_entropy(
                logits[key : key + 1], torch.tensor([target]), label_smoothing=smoothing
            )

        total = total + (1 - strength) * loss(int(TARGETS[key])) + strength * weight * loss(target)
        weights.append(weight)
    (total / len(KEYS)).backward()
    return total.item() / len(KEYS), logits.grad.float(), weights


CURRICULA = [SoftWeights(), SoftWeights(power=2.0), Filter(threshold=0.5), Relabel(threshold=0.6)]


@pytest.mark.parametrize("curriculum", CURRICULA, ids=lambda curriculum: str(curriculum))
@pytest.mark.parametrize("max_age_steps", [None, 10])
@pytest.mark.parametrize(("ramp_steps", "strength"), [(0, 1.0), (100, 0.4)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradient_equal_the_loop(
    tables, outputs, curriculum, max_age_steps, ramp_steps, strength, smoothing
):
    module = CurriculumLoss(
        tables[curriculum.name],
        curriculum,
        loss=partial(functional.cross_entropy, reduction="none", label_smoothing=smoothing),
        warmup_steps=60,
        ramp_steps=ramp_steps,
        max_age_steps=max_age_steps,
    )
    loss = module(outputs, TARGETS, KEYS, step=STEP)
    loss.backward()
    oldest = -1 if max_age_steps is None else STEP - max_age_steps
    expected, gradient, weights = reference(outputs, curriculum, strength, oldest, smoothing)
    assert module.strength(STEP) == pytest.approx(strength)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(outputs.grad, gradient, rtol=1e-4, atol=1e-6)
    read = module.last_read
    np.testing.assert_allclose(read.weight, weights, rtol=1e-6)
    used = [key for key in KEYS if known(key, curriculum, oldest)]
    assert read.staleness.tolist() == [STEP - ROWS[key][0] for key in used]
    assert read.unknown == pytest.approx(1 - len(used) / len(KEYS))


def test_without_any_row_it_is_the_plain_loss(bank, outputs):
    empty = bank.features("empty", LabelQualityMaker.QUALITY, keys="int64")
    plain = functional.cross_entropy(outputs, TARGETS)
    module = CurriculumLoss(empty)
    assert module(outputs, TARGETS, KEYS, step=STEP).item() == pytest.approx(plain.item(), rel=1e-6)
    assert module.last_read.unknown == 1.0
    assert module.last_read.staleness.tolist() == []
    assert len(empty) == 0, "a look-up for the loss made a row"


def test_in_the_warm_up_the_bank_is_not_asked(tables, outputs, monkeypatch):
    module = CurriculumLoss(tables["filter"], "filter", warmup_steps=50, ramp_steps=100)
    plain = functional.cross_entropy(outputs, TARGETS).item()
    calls = []
    monkeypatch.setattr(tables["filter"].bank._transport, "call", lambda *args: calls.append(args))
    for step in (0, 49, 50):
        module.prefetch(KEYS, step=step)
        assert module(outputs, TARGETS, KEYS, step=step).item() == pytest.approx(plain, rel=1e-6)
        assert module.last_read is None
    assert calls == []


def test_strength_grows_linearly_after_the_warm_up(tables):
    module = CurriculumLoss(tables["filter"], "filter", warmup_steps=10, ramp_steps=20)
    assert [module.strength(step) for step in (0, 9, 10, 15, 30, 99)] == [0.0, 0.0, 0.0, 0.25, 1.0, 1.0]
    at_once = CurriculumLoss(tables["filter"], "filter", warmup_steps=10)
    assert [at_once.strength(step) for step in (9, 10)] == [0.0, 1.0]


def test_a_batch_that_is_filtered_whole_is_zero_and_trains_nothing(tables, outputs):
    module = CurriculumLoss(tables["filter"], Filter(threshold=1.0))
    loss = module(outputs[2:4], TARGETS[2:4], KEYS[2:4], step=STEP)
    loss.backward()
    assert loss.item() == 0.0
    assert outputs.grad is not None
    assert not outputs.grad.any()
    assert module.last_read.weight.tolist() == [0.0, 0.0]


def test_an_empty_batch_is_zero(tables, outputs):
    loss = CurriculumLoss(tables["filter"], "filter")(
        outputs[:0], TARGETS[:0], torch.zeros(0, dtype=torch.int64), step=STEP
    )
    loss.backward()
    assert loss.item() == 0.0


def test_relabelled_share_is_told(tables, outputs):
    module = CurriculumLoss(tables["relabel"], Relabel(threshold=0.6))
    module(outputs, TARGETS, KEYS, step=STEP)
    assert module.last_read.relabelled == pytest.approx(3 / 7)  # keys 1, 2 and 3


def test_keys_come_in_many_forms_and_may_repeat(tables, outputs):
    module = CurriculumLoss(tables["soft_weights"])
    keys = [3, 3, 1, 3]
    targets = torch.tensor([3, 3, 1, 3])
    expected = module(outputs[:4], targets, keys, step=STEP).item()
    assert module.last_read.weight.tolist() == pytest.approx([0.2, 0.2, 0.5, 0.2])
    for form in (torch.tensor(keys), np.array(keys), carls.Keys.of(keys)):
        assert module(outputs[:4], targets, form, step=STEP).item() == expected


def test_string_keys(outputs):
    with carls.connect() as bank:
        labels = bank.features("labels", LabelMaker.LABELS)
        labels.assign(["a", "b"], {"label": [1, 2], "confidence": [0.9, 0.1]}, step=1)
        module = CurriculumLoss(labels, "relabel")
        loss = module(outputs[:2], TARGETS[:2], ["a", "b"], step=1)
        expected = functional.cross_entropy(outputs[:2], torch.tensor([1, 1]))
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_prefetched_rows_are_taken_and_equal(tables, outputs, monkeypatch):
    table = tables["soft_weights"]
    module = CurriculumLoss(table, max_age_steps=10)
    expected = module(outputs, TARGETS, KEYS, step=STEP).item()
    calls = []
    call = table.bank._transport.call
    monkeypatch.setattr(table.bank._transport, "call", lambda *args: calls.append(args) or call(*args))
    module.prefetch(KEYS, step=STEP)
    assert module(outputs, TARGETS, torch.tensor(KEYS), step=STEP).item() == expected
    assert len(calls) == 1
    assert module(outputs, TARGETS, KEYS, step=STEP).item() == expected
    assert len(calls) == 2, "prefetched rows were used twice"


def test_a_dropped_prefetch_is_looked_up_anew(tables, outputs):
    module = CurriculumLoss(tables["soft_weights"])
    expected = module(outputs, TARGETS, KEYS, step=STEP).item()
    module.prefetch(KEYS, step=STEP)
    for step in range(1, 10):  # more than are kept
        module.prefetch(KEYS[:1], step=step)
    assert module(outputs, TARGETS, KEYS, step=STEP).item() == expected


def test_rows_that_were_lost_turn_it_into_the_plain_loss(tables, outputs):
    module = CurriculumLoss(tables["soft_weights"])
    module(outputs, TARGETS, KEYS, step=STEP)
    assert module.last_read.unknown < 1
    tables["soft_weights"].erase(KEYS)
    loss = module(outputs, TARGETS, KEYS, step=STEP).item()
    assert loss == pytest.approx(functional.cross_entropy(outputs, TARGETS).item(), rel=1e-6)
    assert module.last_read.unknown == 1.0


def test_a_server_gives_the_same(tables, outputs, serve):
    with carls.connect(serve(Engine()).url) as remote:
        for curriculum, table in tables_of(remote).items():
            expected = CurriculumLoss(tables[curriculum], curriculum)(outputs, TARGETS, KEYS, step=STEP)
            module = CurriculumLoss(table, curriculum)
            assert module(outputs, TARGETS, KEYS, step=STEP).item() == expected.item()
            module.prefetch(KEYS, step=STEP)
            assert module(outputs, TARGETS, KEYS, step=STEP).item() == expected.item()


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (InvalidSpecError, {"curriculum": "soft"}, "soft_weights"),
        (InvalidSpecError, {"curriculum": "relabel"}, "no columns .*confidence"),
        (InvalidValueError, {"warmup_steps": -1}, "warmup_steps=-1"),
        (InvalidValueError, {"ramp_steps": float("nan")}, "ramp_steps=nan"),
        (InvalidRequestError, {"max_age_steps": -3}, "max_age_steps=-3"),
        (InvalidRequestError, {"max_age_s": -1.0}, "max_age_s=-1.0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(tables, error, arguments, message):
    with pytest.raises(error, match=message):
        CurriculumLoss(tables["filter"], **arguments)


@pytest.mark.parametrize(
    ("policy", "arguments"),
    [(SoftWeights, {"power": -1}), (Filter, {"threshold": 1.1}), (Relabel, {"threshold": -0.1})],
)
def test_curricula_that_cannot_be_are_refused(policy, arguments):
    with pytest.raises(InvalidSpecError, match=next(iter(arguments))):
        policy(**arguments)


def test_calls_that_do_not_fit_are_refused(tables, outputs):
    module = CurriculumLoss(tables["soft_weights"])
    with pytest.raises(InvalidValueError, match="7 outputs, 7 targets and 2 keys"):
        module(outputs, TARGETS, [1, 2], step=STEP)
    reduced = CurriculumLoss(tables["soft_weights"], loss=functional.cross_entropy)
    with pytest.raises(InvalidValueError, match='reduction="none"'):
        reduced(outputs, TARGETS, KEYS, step=STEP)
