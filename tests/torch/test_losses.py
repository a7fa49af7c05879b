"""Sampled losses against torch with all classes, and against their definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import carls
from carls.errors import InvalidKeyError, InvalidSpecError, InvalidValueError, SpecMismatchError
from carls.service import BankProcess
from carls.torch import SampledSigmoidLoss, SampledSoftmaxLoss

DIM, CLASSES = 4, 30
NAMES = [f"class {i}" for i in range(CLASSES)]
LOSSES = [SampledSoftmaxLoss, SampledSigmoidLoss]
#: Several positives, one, none, and one that is there twice.
RAGGED = [["class 3", "class 7"], ["class 3"], [], ["class 5", "class 5", "class 0"], ["class 29"]]
SINGLE = [NAMES[i] for i in (3, 3, 5, 0, 29)]
PAIRS = [[NAMES[i], NAMES[j]] for i, j in ((3, 7), (3, 5), (5, 0), (0, 3), (29, 1))]


@pytest.fixture
def bank():
    with carls.connect() as bank:
        yield bank


@pytest.fixture(scope="module")
def server():
    with BankProcess() as process:
        yield process


def table_of(bank, dim=DIM, names=NAMES, **options):
    """All classes as rows, some looked up more often than others."""
    options = {"optimizer": carls.SGD(lr=1.0), "initializer": carls.Normal(1.0), **options}
    table = bank.embeddings("classes", dim=dim, **options)
    for first in (0, 0, 0, 4, 9, 20):
        table.lookup(names[first:])
    return table


def queries_of(count, dim=DIM, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def values_of(table, names=NAMES):
    return table.lookup(names, create=False).values.copy()


def sets(positives):
    return [list(dict.fromkeys(bag)) if isinstance(bag, list) else [bag] for bag in positives]


def plain_logits(query, row, bias=False, normalize=False, temperature=1.0):
    """F of one query and one row."""
    row, extra = (row[:-1], row[-1]) if bias else (row, 0.0)
    if normalize:
        query, row = query / np.linalg.norm(query), row / np.linalg.norm(row)
    return query @ row / temperature + extra


def defined(loss, table, queries, positives, shared, in_batch=False, **options):
    """The published definitions, a loop over examples and candidates: b losses.

    Sampled softmax and sampled logistic loss as in TensorFlow's "Candidate Sampling Algorithms
    Reference": logits minus the log of the expected count, for true and sampled classes, and
    accidental hits removed.
    """
    samples = loss.last_samples
    contexts, width = samples.expected_count.shape
    keys = np.array(samples.keys.tolist(), object).reshape(contexts, width)
    rows = dict(zip(NAMES, values_of(table).astype(np.float64), strict=True))
    positives = sets(positives)
    front = list(dict.fromkeys(key for bag in positives for key in bag))
    total = sum(map(len, positives))
    grown = (loss.num_sampled + total) / loss.num_sampled if in_batch else 1.0
    losses = []
    for i, bag in enumerate(positives):
        context = 0 if shared else i
        expected = samples.expected_count[context].astype(np.float64) * grown
        start = len(front) if shared else len(bag)
        assert keys[context][:start].tolist() == (front if shared else bag)
        sampled = list(zip(keys[context][start:], expected[start:], strict=True))
        if in_batch:
            sampled += [(key, expected[front.index(key)]) for other in positives for key in other]

        def corrected(key, count, query=queries[i]):
            return plain_logits(query, rows[key], **options) - np.log(count)

        true = [corrected(key, expected[(front if shared else bag).index(key)]) for key in bag]
        false = [corrected(key, count) for key, count in sampled if key not in bag]
        if not bag:
            losses.append(0.0)
        elif isinstance(loss, SampledSoftmaxLoss):
            total_weight = np.logaddexp.reduce(true + false)
            losses.append(float(np.mean([total_weight - logit for logit in true])))
        else:
            losses.append(float(np.logaddexp(0, [-logit for logit in true]).sum()))
            losses[-1] += float(np.logaddexp(0, false).sum())
    return np.array(losses)


def full_loss(kind, logits, positives):
    """The loss over all classes, in plain torch."""
    target = torch.zeros_like(logits)
    for i, bag in enumerate(sets(positives)):
        target[i, [NAMES.index(key) for key in bag]] = 1.0
    if kind is SampledSigmoidLoss:
        total = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1)
    else:
        total = functional.cross_entropy(
            logits, target / target.sum(dim=1, keepdim=True).clamp(min=1), reduction="none"
        )
    known = target.sum(dim=1) > 0
    return total[known].mean()


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    ("positives", "shared"), [(SINGLE, True), (RAGGED, True), (SINGLE, False), (PAIRS, False)]
)
def test_all_classes_sampled_is_the_full_loss(bank, kind, positives, shared):
    """And so are the gradients of the queries and of the rows."""
    table = table_of(bank)
    rows = torch.from_numpy(values_of(table)).requires_grad_()
    queries = queries_of(5)
    loss = kind(table, num_sampled=CLASSES, strategy="frequency", shared=shared)
    got = loss(queries, positives)
    oracle_queries = queries.detach().clone().requires_grad_()
    expected = full_loss(kind, oracle_queries @ rows.T, positives)
    torch.testing.assert_close(got, expected)
    got.backward()
    expected.backward()
    torch.testing.assert_close(queries.grad, oracle_queries.grad)
    loss.flush()
    np.testing.assert_allclose(values_of(table), (rows - rows.grad).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("strategy", ["uniform", "log_uniform", "frequency"])
def test_losses_are_the_published_definitions(bank, kind, shared, unique, strategy):
    table, queries = table_of(bank), queries_of(5)
    loss = kind(
        table, num_sampled=7, strategy=strategy, shared=shared, unique=unique, reduction="none", seed=1
    )
    got = loss(queries, RAGGED)
    expected = defined(loss, table, queries.detach().numpy(), RAGGED, shared)
    np.testing.assert_allclose(got.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 1), ("mean", 4)])
def test_the_mean_is_over_examples_with_a_positive(bank, reduction, divisor):
    table, queries = table_of(bank), queries_of(5)
    loss = SampledSoftmaxLoss(table, num_sampled=7, reduction=reduction)
    got = loss(queries, RAGGED)
    expected = defined(loss, table, queries.detach().numpy(), RAGGED, True)
    assert got.item() == pytest.approx(expected.sum() / divisor, rel=1e-4)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    "options",
    [{"bias": True}, {"normalize": True, "temperature": 0.2}, {"temperature": 3.0, "bias": True}],
    ids=str,
)
def test_logits_with_bias_direction_and_temperature(bank, kind, options):
    table = table_of(bank, dim=DIM + bool(options.get("bias")))
    queries = queries_of(5)
    loss = kind(table, num_sampled=9, reduction="none", **options)
    assert loss.dim == DIM
    got = loss(queries, RAGGED)
    expected = defined(loss, table, queries.detach().numpy(), RAGGED, True, **options)
    np.testing.assert_allclose(got.detach(), expected, rtol=1e-4, atol=1e-5)
    rows = values_of(table)
    logits = [[plain_logits(query, row, **options) for row in rows] for query in queries.detach().numpy()]
    np.testing.assert_allclose(loss.logits(queries, NAMES).detach(), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_positives_of_the_others_count_as_sampled(bank, kind):
    table, queries = table_of(bank), queries_of(5)
    loss = kind(table, num_sampled=6, strategy="frequency", unique=False, in_batch=True, reduction="none")
    got = loss(queries, RAGGED)
    expected = defined(loss, table, queries.detach().numpy(), RAGGED, True, in_batch=True)
    np.testing.assert_allclose(got.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("options", [{}, {"shared": False}, {"unique": False}, {"in_batch": True}], ids=str)
def test_gradients_are_the_derivatives_of_the_loss(bank, kind, options):
    """Pushed gradients, read back through SGD with rate 1, against finite differences of the definition."""
    table, queries = table_of(bank), queries_of(3)
    positives = [["class 3", "class 7"], ["class 3"], ["class 0"]]
    loss = kind(table, num_sampled=5, reduction="sum", **options)
    before = values_of(table)
    got = loss(queries, positives)
    shared, in_batch = options.get("shared", True), options.get("in_batch", False)

    def at(rows, points):
        table.assign(NAMES, rows)
        return defined(loss, table, points, positives, shared, in_batch=in_batch).sum()

    got.backward()
    loss.flush()
    pushed = before - values_of(table)
    points = queries.detach().numpy()
    compared = sorted({NAMES.index(key) for key in loss.last_samples.keys.tolist()})
    untouched = np.setdiff1d(np.arange(CLASSES), compared)
    assert not pushed[untouched].any()
    for row in compared[:6]:
        for column in range(DIM):
            up, down = before.copy(), before.copy()
            up[row, column] += 1e-2
            down[row, column] -= 1e-2
            slope = (at(up, points) - at(down, points)) / (up[row, column] - down[row, column])
            assert pushed[row, column] == pytest.approx(slope, abs=2e-3)
    up, down = points.astype(np.float64), points.astype(np.float64)
    up[0, 1] += 1e-4
    down[0, 1] -= 1e-4
    assert queries.grad[0, 1].item() == pytest.approx((at(before, up) - at(before, down)) / 2e-4, abs=1e-3)


def test_each_backward_is_one_push_stamped_with_the_step(bank):
    table = table_of(bank)
    loss = SampledSoftmaxLoss(table, num_sampled=CLASSES, unique=True)
    for step in (4, 5):
        loss.step = step
        loss(queries_of(3), ["class 1", "class 1", "class 2"]).backward()
    loss.flush()
    rows = table.lookup(NAMES, create=False)
    assert rows.version.tolist() == [2] * CLASSES
    assert rows.step.tolist() == [5] * CLASSES


@pytest.mark.parametrize("strategy", ["uniform", "log_uniform", "frequency"])
def test_sampled_classes_stand_for_all_without_bias(bank, strategy):
    """The mean over many draws of sum over sampled of exp(F) / expected count is the sum over all classes."""
    table = table_of(bank)
    draws = 4000
    queries = queries_of(1).detach().expand(draws, DIM)
    loss = SampledSoftmaxLoss(
        table, num_sampled=6, strategy=strategy, shared=False, reduction="none", seed=3
    ).eval()
    losses = loss(queries, ["class 4"] * draws).double().numpy()
    logits = values_of(table).astype(np.float64) @ queries[0].numpy()
    own = np.exp(logits[4]) / loss.last_samples.expected_count[0, 0]
    others = own * np.expm1(losses)
    expected = np.exp(np.delete(logits, 4)).sum()
    error = others.std() / np.sqrt(draws)
    assert error < 0.1 * expected, "too few draws to tell"
    assert abs(others.mean() - expected) < 4 * error


@pytest.mark.parametrize("strategy", ["uniform", "frequency"])
def test_the_true_distribution_is_where_the_gradient_vanishes(bank, strategy):
    """With F = log P(class), classes drawn from P: a step in the mean changes nothing. So it does not without
    the correction for positives."""
    table = table_of(bank, dim=2)
    odds = np.exp(np.random.default_rng(5).normal(0, 1.2, CLASSES))
    odds /= odds.sum()
    table.assign(NAMES, np.stack([np.zeros(CLASSES), np.log(odds)], axis=1).astype(np.float32))
    count = 30_000
    drawn = np.random.default_rng(6).choice(CLASSES, count, p=odds)
    loss = SampledSoftmaxLoss(
        table, num_sampled=4, strategy=strategy, shared=False, unique=False, bias=True, seed=7
    )
    loss(torch.zeros(count, 1), [NAMES[i] for i in drawn]).backward()
    loss.flush()
    pushed = np.log(odds) - values_of(table)[:, 1]
    assert np.abs(pushed).max() < 6e-3
    assert np.abs(pushed).max() < 0.1 * np.abs(odds - 1 / CLASSES).max()


def test_eval_mode_creates_and_pushes_nothing(bank):
    table = table_of(bank)
    before = table.lookup(NAMES, create=False)
    loss = SampledSoftmaxLoss(table, num_sampled=8, reduction="none").eval()
    queries = queries_of(3)
    result = loss(queries, [["class 1", "new"], ["new"], ["class 2"]])
    assert result[1] == 0
    assert loss.last_keys.tolist() == ["class 1", "new", "class 2"]
    assert loss.last_rows.found.tolist() == [True, False, True]
    known = [["class 1"], [], ["class 2"]]
    np.testing.assert_allclose(
        result.detach(), defined(loss, table, queries.detach().numpy(), known, True), rtol=1e-4
    )
    result.sum().backward()
    assert queries.grad[0].any()
    loss.flush()
    after = table.lookup(NAMES, create=False)
    np.testing.assert_array_equal(after.values, before.values)
    np.testing.assert_array_equal(after.count, before.count)
    assert len(table) == CLASSES


def test_training_creates_unknown_positives_and_counts_them(bank):
    table = table_of(bank)
    counts = table.lookup(NAMES, create=False).count.astype(int)
    loss = SampledSoftmaxLoss(table, num_sampled=8)
    loss(queries_of(3), ["new", "class 1", "new"]).backward()
    loss.flush()
    rows = table.lookup(["new", *NAMES], create=False)
    assert rows.found.all()
    assert rows.version[0] == 1
    grown = rows.count[1:].astype(int) - counts
    assert grown.tolist() == [int(name == "class 1") for name in NAMES], "only positives count as look-ups"


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_any_positive_the_loss_is_nothing(bank, reduction):
    table = table_of(bank)
    loss = SampledSoftmaxLoss(table, num_sampled=8, reduction=reduction, padding_key="")
    for queries, positives in ((queries_of(2), [[], [""]]), (queries_of(0), [])):
        result = loss(queries, positives)
        assert result.tolist() == ([0.0] * len(queries) if reduction == "none" else 0.0)
        result.sum().backward()
        assert not queries.grad.any()
    assert loss.last_samples is None
    loss.flush()
    assert table.lookup(NAMES, create=False).version.max() == 0


def test_positives_come_in_many_forms(bank):
    table = table_of(bank, names=np.arange(CLASSES))
    queries = queries_of(2)
    loss = SampledSoftmaxLoss(table, num_sampled=CLASSES, padding_key=-1).eval()
    ragged = carls.Ragged(np.array([0, 2, 3]), np.array([4, 9, 4]))
    several = [torch.tensor([[4, 9], [4, -1]]), [[4, 9], [4]], ragged, np.array([[4, 9], [-1, 4]])]
    several += [[torch.tensor([4, 9]), torch.tensor([4])], (np.array([4, 9]), torch.tensor([4]))]
    results = [loss(queries, form).item() for form in several]
    assert results == pytest.approx([results[0]] * len(results))
    one = [torch.tensor([4, 9]), [4, 9], np.array([[4], [9]]), carls.Keys.of([4, 9])]
    results = [loss(queries, form).item() for form in one]
    assert results == pytest.approx([results[0]] * len(results))


def test_arrays_without_a_key_are_empty_bags(bank):
    loss = SampledSoftmaxLoss(table_of(bank, names=np.arange(CLASSES)), num_sampled=CLASSES, reduction="none")
    for nothing in (np.array([]), torch.tensor([]), []):
        first, second = loss.eval()(queries_of(2), [np.array([4, 9]), nothing]).tolist()
        assert first > 0
        assert second == 0


def test_logits_rank_without_creating(bank):
    table = table_of(bank)
    loss = SampledSoftmaxLoss(table, num_sampled=3)
    logits = loss.logits(queries_of(2), ["class 4", "unknown", "class 0"])
    assert logits.shape == (2, 3)
    assert torch.isneginf(logits[:, 1]).all()
    assert torch.isfinite(logits[:, [0, 2]]).all()
    assert len(table) == CLASSES


def test_seeds_repeat_the_draws(bank):
    def keys(seed):
        loss = SampledSoftmaxLoss(table, num_sampled=8, seed=seed).eval()
        drawn = []
        for _ in range(3):
            loss(queries_of(2), ["class 1", "class 2"])
            drawn.append(loss.last_samples.keys.tolist())
        return drawn

    table = table_of(bank)
    first = keys(1)
    assert first == keys(1)
    assert first != keys(2)
    assert len({tuple(drawn) for drawn in first}) == 3, "each forward draws anew"


def test_a_loaded_loss_goes_on_with_the_next_draw(bank):
    def drawn(loss):
        loss(queries_of(2), ["class 1", "class 2"])
        return loss.last_samples.keys.tolist()

    table = table_of(bank)
    loss, other = (SampledSoftmaxLoss(table, num_sampled=8, seed=1).eval() for _ in range(2))
    first = drawn(loss)
    other.load_state_dict(loss.state_dict())
    second = drawn(loss)
    assert drawn(other) == second != first


def test_a_bank_of_another_process_gives_the_same(bank, server):
    with carls.connect(server.url) as remote:
        results = []
        for place in (bank, remote):
            table = table_of(place)
            loss = SampledSoftmaxLoss(table, num_sampled=CLASSES)
            for step in range(3):
                loss(queries_of(5, seed=step), RAGGED).backward()
            loss.flush()
            results.append(values_of(table))
        np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sampled": 0}, "num_sampled=0"),
        ({"num_sampled": 2.5}, r"num_sampled=2\.5"),
        ({"num_sampled": "5"}, "num_sampled='5'"),
        ({"temperature": "warm"}, "temperature='warm'"),
        ({"in_batch": True, "shared": False}, "shared=True"),
        ({"bias": True, "normalize": True}, "normalize=True"),
        ({"temperature": 0.0}, r"temperature=0\.0"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"reduction": "median"}, "reduction='median'"),
    ],
)
def test_arguments_that_cannot_be_are_refused(bank, arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        SampledSoftmaxLoss(table_of(bank), **{"num_sampled": 3, **arguments})


def test_bias_needs_a_column_beside_the_vector(bank):
    table = bank.embeddings("narrow", dim=1, optimizer="sgd")
    with pytest.raises(InvalidValueError, match="dim 2 or more, not 1"):
        SampledSoftmaxLoss(table, num_sampled=3, bias=True)


def test_input_that_does_not_fit_is_refused_and_changes_nothing(bank):
    table = table_of(bank)
    loss = SampledSoftmaxLoss(table, num_sampled=3)
    counts = table.lookup(NAMES, create=False).count
    for queries, positives, error, message in (
        (queries_of(2, dim=DIM + 1), ["new", "new"], InvalidValueError, r"\(2, 5\)"),
        (queries_of(2)[0], ["new"], InvalidValueError, r"\(4,\)"),
        (queries_of(2).detach().numpy(), ["new", "new"], InvalidValueError, "ndarray"),
        (queries_of(2), ["new"], InvalidValueError, "1 examples for 2 queries"),
        (queries_of(2), [1, 2], InvalidKeyError, "int64"),
        (queries_of(2), "ab", InvalidKeyError, "str"),
    ):
        with pytest.raises(error, match=message):
            loss(queries, positives)
    np.testing.assert_array_equal(table.lookup(NAMES, create=False).count, counts)
    assert len(table) == CLASSES


def test_table_without_optimizer_is_compared_but_not_trained(bank):
    table = table_of(bank, optimizer=None)
    loss = SampledSoftmaxLoss(table, num_sampled=3)
    with pytest.raises(InvalidSpecError, match="no optimizer"):
        loss(queries_of(1), ["class 1"])
    queries = queries_of(1)
    loss.eval()(queries, ["class 1"]).backward()
    assert queries.grad.any()


def test_state_dict_names_the_table_and_holds_no_rows(bank):
    loss = SampledSoftmaxLoss(table_of(bank), num_sampled=3)
    state = loss.state_dict()
    assert list(state) == ["_extra_state"]
    loss.load_state_dict(state)
    with carls.connect() as other:
        with pytest.raises(SpecMismatchError, match="'classes'"):
            SampledSoftmaxLoss(table_of(other, dim=DIM + 1), num_sampled=3).load_state_dict(state)


@pytest.mark.gpu
def test_cuda_queries_train_rows(bank):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    table = table_of(bank)
    before = values_of(table)
    queries = queries_of(5).detach().cuda().requires_grad_()
    loss = SampledSoftmaxLoss(table, num_sampled=CLASSES)
    got = loss(queries, RAGGED)
    assert got.device.type == "cuda"
    expected = full_loss(SampledSoftmaxLoss, queries.detach().cpu() @ torch.from_numpy(before).T, RAGGED)
    torch.testing.assert_close(got.detach().cpu(), expected)
    got.backward()
    loss.flush()
    assert (values_of(table) != before).any()
