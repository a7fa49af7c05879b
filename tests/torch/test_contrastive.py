"""BankContrastiveLoss against a loop in float64, and what it does when the bank knows little."""

from __future__ import annotations

import copy
import math
import socket

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.bank import Engine
from carls.errors import (
    BankRestartedError,
    DeadlineExceededError,
    InvalidKeyError,
    InvalidSpecError,
    InvalidValueError,
    UnavailableError,
)
from carls.service import BankProcess
from carls.torch import BankContrastiveLoss, Hardest, Sampled, WholeBank
from carls.torch.items import Items

DIM = 3
ITEMS = 9
STEP = 100
#: The steps that the rows come from, of both tables.
STEPS = np.array([[100, 95, 90, 80, 100, 60, 100, 99, 100], [100, 95, 92, 80, 98, 60, 100, 99, 100]])
#: Item 6 has no row in the second table; nobody has written item 8 in the first.
NO_ROW, UNWRITTEN = 6, 8
BATCH = [3, 0, 5, 6, 1, 8]


def vectors(seed):
    return np.random.default_rng(seed).normal(size=(ITEMS, DIM)).astype(np.float32)


def fill(first, second):
    for side, table in enumerate((first, second)):
        for key in range(ITEMS):
            if side == 0 and key == UNWRITTEN:
                table.lookup([key])
            elif not (side == 1 and key == NO_ROW):
                table.assign([key], vectors(side)[key : key + 1], step=int(STEPS[side, key]))
        table.announce(60)


@pytest.fixture
def bank():
    with carls.connect() as bank:
        yield bank


@pytest.fixture
def tables(bank):
    tables = [bank.embeddings(name, dim=DIM, keys="int64") for name in ("texts", "images")]
    fill(*tables)
    return tables


@pytest.fixture
def outputs():
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(len(BATCH), DIM, generator=draw, requires_grad=True) for _ in range(2)]


def loaded(tables, step=STEP, keys=None, **settings):
    module = BankContrastiveLoss(*tables, np.arange(ITEMS) if keys is None else keys, **settings)
    module.refresh(step=step)
    return module


def unit(vector):
    return vector / vector.norm()


def reference(outputs, module, *, batch=tuple(BATCH), groups=None, half_life=None, oldest=-1, ramp=1.0):
    """The formula of the class docstring, pair by pair; (loss, gradients of both sides)."""
    sides = [side.detach().double().requires_grad_() for side in outputs]
    group = (lambda key: key) if groups is None else (lambda key: groups[key])
    chosen = module.negatives.rows(ITEMS, STEP)
    chosen = range(ITEMS) if chosen is None else chosen.tolist()

    def usable(side, key):
        if (side, key) in ((1, NO_ROW), (0, UNWRITTEN)) or not 0 <= key < ITEMS:
            return False
        return STEPS[side, key] >= oldest

    def age_weight(side, key):
        return 1.0 if half_life is None else 2.0 ** (-(STEP - STEPS[side, key]) / half_life)

    total = torch.zeros((), dtype=torch.float64)
    for query_side in (0, 1):
        other = 1 - query_side
        rows = torch.from_numpy(vectors(other)).double()
        for at, key in enumerate(batch):
            query = unit(sides[query_side][at]) / module.temperature
            fresh = [unit(sides[other][place]) @ query for place in range(len(batch))]
            within = [
                fresh[place]
                for place in range(len(batch))
                if place == at or (group(batch[place]) != group(key))
            ]
            batch_loss = torch.logsumexp(torch.stack(within), 0) - fresh[at]
            share = 0.0
            bank_loss = torch.zeros((), dtype=torch.float64)
            if usable(other, key):
                share = (1 - module.in_batch) * ramp * age_weight(other, key)
                positive = unit(rows[key]) @ query if module.positives == "bank" else fresh[at]
                negatives = [
                    unit(rows[j]) @ query + math.log(age_weight(other, j))
                    for j in chosen
                    if usable(other, j) and group(j) != group(key)
                ]
                if isinstance(module.negatives, Hardest):
                    negatives = sorted(negatives, key=torch.Tensor.item)[-int(module.negatives.k) :]
                bank_loss = torch.logsumexp(torch.stack([positive, *negatives]), 0) - positive
            total = total + share * bank_loss + (1 - share) * batch_loss
    total = total / (2 * len(batch))
    gradients = torch.autograd.grad(total, sides)
    return total.item(), [gradient.float() for gradient in gradients]


def check(module, outputs, keys=tuple(BATCH), **expected):
    loss = module(*outputs, list(keys), step=STEP)
    gradients = torch.autograd.grad(loss, outputs)
    value, wanted = reference(outputs, module, batch=keys, **expected)
    assert loss.item() == pytest.approx(value, rel=1e-5)
    for got, right in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "negatives", [WholeBank(), Hardest(2), Hardest(50), Sampled(4, seed=3), Sampled(50)], ids=str
)
@pytest.mark.parametrize("in_batch", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("half_life", [None, 10.0])
@pytest.mark.parametrize("max_age_steps", [None, 8])
def test_loss_and_gradients_equal_the_loop(tables, outputs, negatives, in_batch, half_life, max_age_steps):
    module = loaded(
        tables,
        negatives=negatives,
        in_batch=in_batch,
        half_life_steps=half_life,
        max_age_steps=max_age_steps,
        temperature=0.2,
    )
    oldest = -1 if max_age_steps is None else STEP - max_age_steps
    check(module, outputs, half_life=half_life, oldest=oldest)


@pytest.mark.parametrize("positives", ["bank", "fresh"])
def test_positives_come_from_the_bank_unless_asked_otherwise(tables, outputs, positives):
    check(loaded(tables, positives=positives), outputs)


@pytest.mark.parametrize("negatives", ["whole_bank", Sampled(5, seed=1), Hardest(3)], ids=str)
def test_items_of_one_group_are_never_negatives(tables, outputs, negatives):
    groups = np.array([7, 7, 2, 7, 4, 5, 4, 9, 5])
    check(loaded(tables, groups=groups, negatives=negatives, in_batch=0.4), outputs, groups=groups)


def test_a_key_twice_in_a_batch_is_no_negative_of_itself(tables, outputs):
    check(loaded(tables, in_batch=0.5), outputs, keys=(3, 0, 3, 6, 0, 3))


def test_keys_that_are_no_items_are_compared_within_their_batch(tables, outputs):
    groups = dict(enumerate(range(ITEMS))) | {-4: -4, 77: 77}
    check(loaded(tables), outputs, keys=(-4, 0, 77, 3, -4, 1), groups=groups)


def test_a_group_of_all_items_leaves_no_negatives_and_no_gradient(tables, outputs):
    module = loaded(tables, groups=np.zeros(ITEMS, int))
    keys = [0, 1, 2, 3, 4, 5]
    loss = module(*outputs, keys, step=STEP)
    assert loss.item() == 0.0
    for gradient in torch.autograd.grad(loss, outputs):
        assert not gradient.any()


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    data=st.data(),
)
def test_same_gives_just_the_pairs_of_one_group(groups, data):
    n = len(groups)
    items = Items.of([f"item {i}" for i in range(n)], np.array(groups) * 10 - 3)
    places = np.array(data.draw(st.lists(st.integers(-1, n - 1), max_size=6)), np.int64)
    columns = data.draw(st.none() | st.lists(st.integers(0, n - 1), unique=True, min_size=1))
    pairs = items.same(places, None if columns is None else np.array(columns))
    listed = list(range(n)) if columns is None else columns
    wanted = {
        (i, c)
        for i, place in enumerate(places)
        for c, column in enumerate(listed)
        if place >= 0 and groups[place] == groups[column]
    }
    found = list(zip(*[part.tolist() for part in pairs], strict=True))
    assert len(found) == len(set(found))
    assert set(found) == wanted


def within_batch(outputs, temperature=0.07):
    """The loss of a batch of different items by torch's own cross entropy."""
    a, b = [torch.nn.functional.normalize(side) for side in outputs]
    scores, own = a @ b.T / temperature, torch.arange(len(a))
    losses = [torch.nn.functional.cross_entropy(matrix, own) for matrix in (scores, scores.T)]
    return (sum(losses) / 2).item()


def test_before_there_are_rows_the_batch_is_compared_with_itself(bank, outputs):
    empty = [bank.embeddings(name, dim=DIM, keys="int64") for name in ("a", "b")]
    module = BankContrastiveLoss(*empty, np.arange(ITEMS))
    assert module(*outputs, BATCH, step=0).item() == pytest.approx(within_batch(outputs), rel=1e-5)
    assert module.last_read.masked == 1.0
    assert len(module.last_read.staleness) == 0
    module.close()


@pytest.mark.parametrize(("least_known", "opens"), [(0.88, True), (0.9, False)])
def test_the_gate_opens_with_the_share_of_rows_known(tables, outputs, least_known, opens):
    module = loaded(tables, least_known=least_known)  # 8 of 9 rows in each table
    loss = module(*outputs, BATCH, step=STEP).item()
    assert bool(module.last_read.weight.any()) is opens
    assert (loss == pytest.approx(within_batch(outputs), rel=1e-5)) is not opens


def test_the_bank_sets_in_over_the_ramp_and_anew_after_the_gate_was_shut(tables, outputs):
    module = loaded(tables, ramp_steps=4, max_age_steps=30, least_known=0.7)

    def weight(step):
        module(*outputs, BATCH, step=step)
        return float(module.last_read.weight[0, 0])  # of item 3, made at step 80

    assert [weight(step) for step in (100, 101, 103, 110)] == [0.25, 0.5, 1.0, 1.0]
    assert weight(200) == 0.0  # all too old
    for table in tables:
        table.assign(np.arange(ITEMS), vectors(7), step=201)
    module.refresh(step=201)
    assert [weight(step) for step in (201, 202)] == [0.25, 0.5]


def test_last_read_counts_what_was_left_out_and_how_old_the_rest_is(tables, outputs):
    module = loaded(tables, max_age_steps=8)
    module(*outputs, BATCH, step=STEP)
    used = [
        STEP - STEPS[side, key]
        for side in (0, 1)
        for key in range(ITEMS)
        if STEPS[side, key] >= STEP - 8 and (side, key) not in ((1, NO_ROW), (0, UNWRITTEN))
    ]
    assert sorted(module.last_read.staleness.tolist()) == sorted(used)
    assert module.last_read.masked == pytest.approx(1 - len(used) / (2 * ITEMS))
    # 3 and 5 are too old; 6 has no row for the first tower's queries, 8 none for the second's.
    assert module.last_read.weight.tolist() == [[0, 1, 0, 0, 1, 1], [0, 1, 0, 1, 1, 0]]


def test_rows_beyond_the_age_in_seconds_are_left_out(tables, outputs):
    module = loaded(tables, max_age_s=1e-9)
    assert module(*outputs, BATCH, step=STEP).item() == pytest.approx(within_batch(outputs), rel=1e-5)
    assert module.last_read.masked == 1.0


def test_a_learnt_temperature_gets_the_gradient_of_the_loss(tables, outputs):
    module = loaded(tables, temperature=0.2, learn_temperature=True, in_batch=0.5, half_life_steps=20)
    (parameter,) = module.parameters()
    module(*outputs, BATCH, step=STEP).backward()
    values = []
    for shift in (-1e-3, 1e-3):
        with torch.no_grad():
            parameter.add_(shift)
            values.append(module(*outputs, BATCH, step=STEP).item())
            parameter.sub_(shift)
    assert parameter.grad.item() == pytest.approx((values[1] - values[0]) / 2e-3, rel=1e-2)
    with torch.no_grad():
        parameter.fill_(50.0)
    assert module.temperature == pytest.approx(0.01)


def test_the_temperature_travels_in_the_state_and_a_deep_copy_shares_the_rows(tables, outputs):
    module = loaded(tables, temperature=0.3)
    other = BankContrastiveLoss(*tables, np.arange(ITEMS))
    other.load_state_dict(module.state_dict())
    assert other.temperature == pytest.approx(0.3)
    twin = copy.deepcopy(module)
    assert twin(*outputs, BATCH, step=STEP).item() == module(*outputs, BATCH, step=STEP).item()


@pytest.mark.parametrize("in_batch", [0.0, 0.5])
def test_within_autocast_loss_and_gradients_are_those_in_float32(tables, outputs, in_batch):
    module = loaded(tables, temperature=0.2, in_batch=in_batch, half_life_steps=20)
    plain = module(*outputs, BATCH, step=STEP)
    wanted = torch.autograd.grad(plain, outputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module(*outputs, BATCH, step=STEP)
    assert loss.item() == plain.item()
    for got, right in zip(torch.autograd.grad(loss, outputs), wanted, strict=True):
        torch.testing.assert_close(got, right)


def test_a_learnt_temperature_that_went_too_low_can_rise_again(tables, outputs):
    module = loaded(tables, temperature=0.01, learn_temperature=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    with torch.no_grad():
        module.log_scale.add_(0.5)
    loss = module(*outputs, BATCH, step=STEP)
    assert module.temperature == pytest.approx(0.01)
    loss.backward()
    assert module.log_scale.grad.item() > 0  # random outputs: a higher temperature is better
    optimizer.step()
    assert module.temperature > 0.01


def test_an_empty_batch_can_be_trained_on(tables):
    outputs = [torch.zeros(0, DIM, requires_grad=True) for _ in range(2)]
    loss = loaded(tables)(*outputs, [], step=STEP)
    loss.backward()
    assert loss.item() == 0.0


def test_extreme_temperatures_stay_finite(tables):
    outputs = [torch.from_numpy(vectors(side)).requires_grad_() for side in (0, 1)]
    loss = loaded(tables, temperature=1e-4)(*outputs, np.arange(ITEMS), step=STEP)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(torch.isfinite(side.grad).all() for side in outputs)


# --- the local copy ---


def test_new_rows_come_in_when_both_tables_announce_them(tables, outputs, until):
    module = BankContrastiveLoss(*tables, np.arange(ITEMS))

    def latest():
        module(*outputs, BATCH, step=STEP)
        return module.last_read.staleness.min(initial=1000)

    until(lambda: latest() == 0)
    for table in tables:
        table.assign(np.arange(ITEMS), vectors(9), step=90)
    tables[0].announce(90)
    for _ in range(3):
        assert latest() == 0  # the second table's maker has not finished
    tables[1].announce(90)
    until(lambda: latest() == 10)
    module.close()


def test_refresh_reads_what_was_written_without_an_announcement(bank, outputs):
    tables = [bank.embeddings(name, dim=DIM, keys="int64") for name in ("a", "b")]
    module = BankContrastiveLoss(*tables, np.arange(ITEMS))
    for table in tables:
        table.assign(np.arange(ITEMS), vectors(1), step=5)
    module.refresh(step=7)
    module(*outputs, BATCH, step=7)
    assert set(module.last_read.staleness.tolist()) == {2}


def test_refresh_waits_for_the_step_asked_for_and_says_what_is_missing(tables):
    module = loaded(tables)
    module.refresh(step=STEP, at_least=60)
    with pytest.raises(DeadlineExceededError, match=r"'texts', 'images': knowledge of step 61.*step 60 is"):
        module.refresh(step=STEP, at_least=61, timeout_s=0.05)


def test_rows_outlive_a_bank_that_did_not_answer(tables, outputs, monkeypatch, until):
    module = loaded(tables)
    expected = module(*outputs, BATCH, step=STEP).item()
    away = UnavailableError("away")
    told = []

    def knowledge(*_):
        raise away

    def step():
        try:
            assert module(*outputs, BATCH, step=STEP).item() == expected
        except UnavailableError as error:
            told.append(error)
        return told

    with monkeypatch.context() as patched:
        patched.setattr(tables[0], "knowledge", knowledge)
        until(step)
    assert told == [away]
    until(lambda: module(*outputs, BATCH, step=STEP).item() == expected, timeout_s=1)
    module.close()


def test_refresh_tells_what_went_wrong_in_the_background(tables, outputs, monkeypatch, until):
    module = loaded(tables)
    restarted = BankRestartedError("replaced")

    def knowledge(*_):
        raise restarted

    with monkeypatch.context() as patched:
        patched.setattr(tables[0], "knowledge", knowledge)
        module(*outputs, BATCH, step=STEP)
        until(lambda: module._copy._coming.done())
    with pytest.raises(BankRestartedError):
        module.refresh(step=STEP)
    module.refresh(step=STEP)
    assert module(*outputs, BATCH, step=STEP).item() != pytest.approx(within_batch(outputs))
    module.close()


def test_a_replaced_bank_is_told_once_and_then_the_batch_is_compared_with_itself(outputs, until):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    first = BankProcess(("--port", port))
    with carls.connect(first.url) as bank:
        tables = [bank.embeddings(name, dim=DIM, keys="int64") for name in ("texts", "images")]
        fill(*tables)
        module = loaded(tables)
        assert module(*outputs, BATCH, step=STEP).item() != pytest.approx(within_batch(outputs))
        first.kill()
        with BankProcess(("--port", port)):
            told = []

            def step():
                try:
                    module(*outputs, BATCH, step=STEP)
                except BankRestartedError as error:
                    told.append(error)
                return told and module.last_read.masked == 1.0

            until(step)
            loss = module(*outputs, BATCH, step=STEP)
            assert loss.item() == pytest.approx(within_batch(outputs), rel=1e-5)
            module.close()
            bank.close()
    assert len(told) == 1


def test_a_remote_bank_gives_the_same(tables, outputs, serve):
    expected = loaded(tables)(*outputs, BATCH, step=STEP).item()
    with carls.connect(serve(Engine()).url) as remote:
        others = [remote.embeddings(name, dim=DIM, keys="int64") for name in ("texts", "images")]
        fill(*others)
        assert loaded(others)(*outputs, BATCH, step=STEP).item() == expected


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"in_batch": 1.5}, InvalidValueError, "in_batch=1.5: expected a number from 0 to 1"),
        ({"least_known": -1}, InvalidValueError, "least_known=-1"),
        ({"temperature": 0.0}, InvalidValueError, "temperature=0.0: expected a number from 1e-06"),
        (
            {"temperature": 0.001, "learn_temperature": True},
            InvalidValueError,
            "temperature=0.001: expected a number from 0.01",
        ),
        ({"half_life_steps": 0}, InvalidValueError, "half_life_steps=0"),
        ({"ramp_steps": -1}, InvalidValueError, "ramp_steps=-1: expected an integer >= 0"),
        ({"max_age_steps": 1.5}, InvalidValueError, "max_age_steps=1.5"),
        ({"max_age_s": -1.0}, InvalidValueError, "max_age_s=-1.0"),
        ({"positives": "stale"}, InvalidValueError, "positives='stale': expected one of"),
        ({"negatives": "all"}, InvalidSpecError, "unknown negatives 'all': expected one of"),
        ({"groups": [1, 2]}, InvalidValueError, r"groups of shape \(2,\)"),
        ({"groups": np.ones(ITEMS)}, InvalidValueError, "dtype float64"),
        ({"keys": [1, 2, 1]}, InvalidValueError, "key 1 comes twice"),
        ({"keys": []}, InvalidKeyError, "empty batch"),
    ],
)
def test_settings_that_cannot_be_are_refused(tables, settings, error, says):
    with pytest.raises(error, match=says):
        loaded(tables, **settings)


@pytest.mark.parametrize("policy", [(Hardest, {"k": 0}), (Sampled, {"n": 1.5}), (Sampled, {"seed": -1})])
def test_choices_of_negatives_that_cannot_be_are_refused(policy):
    kind, settings = policy
    with pytest.raises(InvalidSpecError, match=f"{kind.__name__}\\({next(iter(settings))}="):
        kind(**settings)


def test_tables_of_different_widths_are_refused(bank):
    tables = [bank.embeddings(f"t{dim}", dim=dim) for dim in (2, 3)]
    with pytest.raises(InvalidValueError, match="'t2' of dim 2 and 't3' of dim 3: expected one width"):
        BankContrastiveLoss(*tables, [1])


def test_batches_that_do_not_fit_are_refused(tables):
    module = loaded(tables)
    good = torch.randn(2, DIM)
    with pytest.raises(InvalidValueError, match=r"second of shape \(2, 4\): expected \(n, 3\)"):
        module(good, torch.randn(2, 4), [0, 1], step=0)
    with pytest.raises(InvalidValueError, match="first has 2 rows on cpu and second 3"):
        module(good, torch.randn(3, DIM), [0, 1], step=0)
    with pytest.raises(InvalidValueError, match="2 outputs of each tower and 3 keys"):
        module(good, good, [0, 1, 2], step=0)
