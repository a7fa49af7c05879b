"""SparseFeatureEmbedding against its formulas in numpy, and against torch where both sides train."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import carls
from carls.errors import InvalidKeyError, InvalidSpecError, InvalidValueError, SpecMismatchError
from carls.torch import SparseFeatureEmbedding

EMB, SIGMA = 5, 3
BAGS = [["a", "b"], [], ["c", "a", "a"], ["d"]]


@pytest.fixture
def bank():
    with carls.connect() as bank:
        yield bank


def table_of(bank, name="t", sigma=SIGMA, lr=1.0):
    initializer = carls.Normal(1.0)
    return bank.embeddings(name, dim=EMB + sigma, optimizer=carls.SGD(lr=lr), initializer=initializer)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def expected(module, name, bags):
    """The docstring's formulas, a loop over bags and keys."""
    feature = module.features[name]
    rows = []
    for bag in bags:
        vectors = []
        for key in bag:
            row = feature.embedding.table.lookup([key], create=False).values[0].astype(np.float64)
            own, weights = row[:EMB], row[EMB:]
            if feature.sigma_dim:
                sigma = logistic(weights @ feature.theta.detach().numpy() + feature.beta.item())
                own = sigma * feature.context_free.detach().numpy() + (1 - sigma) * own
            vectors.append(own)
        rows.append(np.mean(vectors, axis=0) if vectors else np.zeros(EMB))
    return np.array(rows)


@pytest.mark.parametrize("sigma", [0, SIGMA])
def test_bags_are_the_means_of_their_keys(bank, sigma):
    module = SparseFeatureEmbedding({"words": table_of(bank, sigma=sigma)}, sigma_dim=sigma)
    result = module({"words": BAGS})
    assert result.shape == (4, EMB)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.detach(), expected(module, "words", BAGS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sigma", [0, SIGMA])
def test_single_keys_are_bags_of_one(bank, sigma):
    module = SparseFeatureEmbedding({"word": table_of(bank, sigma=sigma)}, sigma_dim=sigma)
    keys = ["b", "a", "b"]
    result = module(keys)
    np.testing.assert_allclose(result.detach(), expected(module, "word", [[k] for k in keys]), rtol=1e-5)


def test_features_stand_side_by_side_in_the_order_of_the_tables(bank):
    tables = {"items": table_of(bank, "x"), "keys": table_of(bank, "y", sigma=0)}
    module = SparseFeatureEmbedding(tables, sigma_dim={"items": SIGMA, "keys": 0})
    tags = [["p"], ["q", "p"], [], ["r"]]
    result = module({"keys": tags, "items": BAGS})
    assert result.shape == (4, module.dim) == (4, 2 * EMB)
    parts = [expected(module, "items", BAGS), expected(module, "keys", tags)]
    np.testing.assert_allclose(result.detach(), np.hstack(parts), rtol=1e-5, atol=1e-6)
    assert module.features["keys"].theta is None


@pytest.mark.parametrize(
    "keys",
    [
        [["a", "b"], ["", ""], ["c", "a"]],
        np.array([["a", "b"], ["", ""], ["c", "a"]]),
        [("a", "b"), (), ("c", "", "a")],
        carls.Ragged(np.array([0, 2, 2, 4]), carls.Keys.of(["a", "b", "c", "a"])),
    ],
)
def test_bags_come_in_many_forms(bank, keys):
    module = SparseFeatureEmbedding({"w": table_of(bank)}, sigma_dim=SIGMA, padding_key="")
    result = module(keys)
    np.testing.assert_allclose(
        result.detach(), expected(module, "w", [["a", "b"], [], ["c", "a"]]), rtol=1e-5, atol=1e-6
    )
    assert not module.features["w"].embedding.table.lookup([""], create=False).found[0]


def test_integer_tensors_with_padding(bank):
    module = SparseFeatureEmbedding({"w": table_of(bank)}, sigma_dim=SIGMA, padding_key=-1)
    result = module(torch.tensor([[3, -1], [-1, -1], [4, 3]]))
    np.testing.assert_allclose(
        result.detach(), expected(module, "w", [[3], [], [4, 3]]), rtol=1e-5, atol=1e-6
    )
    assert not result[1].any()


def test_training_equals_the_same_model_in_torch(bank):
    """Rows by SGD in the bank, parameters by SGD here, against nn.Embedding and plain tensors."""
    names = ["a", "b", "c", "d"]
    table = table_of(bank, lr=0.3)
    module = SparseFeatureEmbedding({"w": table}, sigma_dim=SIGMA)
    feature = module.features["w"]
    rows = nn.Parameter(torch.from_numpy(table.lookup(names).values.copy()))
    shared, theta, beta = (
        nn.Parameter(p.detach().clone()) for p in (feature.context_free, feature.theta, feature.beta)
    )
    oracle_optimizer = torch.optim.SGD([rows, shared, theta, beta], lr=0.3)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        target = torch.randn(len(BAGS), EMB, generator=generator)
        losses = []
        for bag, wanted in zip(BAGS, target, strict=True):
            if not bag:
                losses.append(wanted.square().sum())
                continue
            chosen = rows[[names.index(key) for key in bag]]
            sigma = torch.sigmoid(chosen[:, EMB:] @ theta + beta)[:, None]
            vectors = sigma * shared + (1 - sigma) * chosen[:, :EMB]
            losses.append((vectors.mean(0) - wanted).square().sum())
        oracle_optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        oracle_optimizer.step()
        optimizer.zero_grad()
        (module(BAGS) - target).square().sum().backward()
        optimizer.step()
    module.flush()
    np.testing.assert_allclose(table.lookup(names).values, rows.detach(), rtol=1e-4, atol=1e-5)
    assert table.lookup(names).version.tolist() == [6] * 4, "one push a backward pass"
    for mine, other in ((feature.context_free, shared), (feature.theta, theta), (feature.beta, beta)):
        torch.testing.assert_close(mine.detach(), other.detach(), rtol=1e-4, atol=1e-5)


def test_the_two_sides_train_in_turns(bank):
    table = table_of(bank, lr=0.1)
    module = SparseFeatureEmbedding({"w": table}, sigma_dim=SIGMA, em_steps=2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    feature = module.features["w"]

    def state():
        module.flush()
        values = table.lookup(["a", "b"], create=True).values.copy()
        parameters = [p.detach().clone().numpy().reshape(-1) for p in module.parameters()]
        return {"own": values[:, :EMB], "sigma": values[:, EMB:], "parameters": np.concatenate(parameters)}

    changed, before = [], state()
    for step in range(8):
        module.step = step
        optimizer.zero_grad()
        (module([["a", "b"], ["b"]]) - 1).square().sum().backward()
        optimizer.step()
        after = state()
        changed.append({name for name in after if not np.array_equal(after[name], before[name])})
        before = after
    embedding, sigma = {"own"}, {"sigma", "parameters"}
    assert changed == [embedding, embedding, sigma, sigma, embedding, embedding, sigma, sigma]
    assert table.lookup(["b"], create=False).step[0] == 7
    assert feature.embedding.step == 7


def test_turns_need_a_step(bank):
    module = SparseFeatureEmbedding({"w": table_of(bank)}, sigma_dim=SIGMA, em_steps=2)
    with pytest.raises(InvalidValueError, match=r"module\.step"):
        module(["a"])
    module.eval()
    assert module(["a"]).shape == (1, EMB)


def test_eval_mode_creates_nothing_and_leaves_unknown_keys_out(bank):
    table = table_of(bank)
    module = SparseFeatureEmbedding({"w": table}, sigma_dim=SIGMA)
    module(["a", "b"])
    module.eval()
    result = module([["a", "new"], ["new"], ["b", "a"]])
    assert len(table) == 2
    np.testing.assert_allclose(
        result.detach(), expected(module, "w", [["a"], [], ["b", "a"]]), rtol=1e-5, atol=1e-6
    )
    assert module.features["w"].embedding.last_rows.found.tolist() == [True, False, True]
    result.sum().backward()
    module.flush()
    assert table.lookup(["a"], create=False).version[0] == 0


def test_empty_bags_alone_ask_the_bank_for_nothing(bank):
    table = table_of(bank)
    module = SparseFeatureEmbedding({"w": table}, sigma_dim=SIGMA)
    assert module([[], []]).tolist() == [[0.0] * EMB] * 2
    assert module([]).shape == (0, EMB)
    assert len(table) == 0


def test_sigma_tells_what_a_key_is_worth(bank):
    table = table_of(bank)
    module = SparseFeatureEmbedding({"w": table}, sigma_dim=SIGMA)
    feature = module.features["w"]
    values = table.lookup(["a"]).values
    weight = values[0, EMB:] @ feature.theta.detach().numpy() + feature.beta.item()
    sigma = feature.sigma(["a", "unknown"])
    assert sigma[0].item() == pytest.approx(logistic(weight), rel=1e-5)
    assert torch.isnan(sigma[1])
    assert len(table) == 1
    plain = SparseFeatureEmbedding({"w": table_of(bank, "plain", sigma=0)})
    with pytest.raises(InvalidValueError, match="sigma_dim 0"):
        plain.features["w"].sigma(["a"])


def test_state_goes_around(bank, tmp_path):
    def make():
        tables = {"w": table_of(bank, "w"), "v": table_of(bank, "v", sigma=0)}
        return SparseFeatureEmbedding(tables, sigma_dim={"w": SIGMA, "v": 0})

    first, second = make(), make()
    keys = {"w": BAGS, "v": ["k"] * 4}
    torch.save(first.state_dict(), tmp_path / "state.pt")
    assert not torch.equal(first(keys), second(keys))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(first(keys), second(keys), rtol=0, atol=0)
    other = SparseFeatureEmbedding({"w": table_of(bank, "other")}, sigma_dim=SIGMA)
    with pytest.raises(SpecMismatchError, match="'other'"):
        other.load_state_dict({k: v for k, v in first.state_dict().items() if k.startswith("_features.0")})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tables": {}}, InvalidValueError, "no tables"),
        ({"tables": ["w"]}, InvalidValueError, "list"),
        ({"sigma_dim": "3"}, InvalidValueError, "sigma_dim='3'"),
        ({"sigma_dim": -1}, InvalidValueError, "sigma_dim=-1"),
        ({"sigma_dim": EMB + SIGMA}, InvalidSpecError, "above 8"),
        ({"sigma_dim": {"v": 1}}, InvalidValueError, r"\['v'\]"),
        ({"em_steps": -1}, InvalidValueError, "em_steps=-1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(bank, arguments, error, message):
    with pytest.raises(error, match=message):
        SparseFeatureEmbedding(**{"tables": {"w": table_of(bank)}, **arguments})


def test_keys_that_do_not_fit_are_refused_and_create_nothing(bank):
    tables = {"w": table_of(bank, "w"), "v": table_of(bank, "v")}
    module = SparseFeatureEmbedding(tables)
    for keys, message in (
        ({"w": ["a"]}, r"expected \['v', 'w'\]"),
        ({"w": ["a"], "v": ["a", "b"]}, "different lengths"),
        ({"w": ["a"], 3: ["a"]}, r"expected \['v', 'w'\]"),
        (["a"], "mapping"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            module(keys)
    for keys in (np.zeros((2, 2, 2), np.int64), ["a", ["b"]], "abc", [[["a"]]]):
        with pytest.raises(InvalidKeyError):
            module({"w": keys, "v": keys})
    assert [len(table) for table in tables.values()] == [0, 0]


def test_table_without_optimizer_is_read_but_not_trained(bank):
    table = bank.embeddings("t", dim=EMB)
    module = SparseFeatureEmbedding({"w": table})
    with pytest.raises(InvalidSpecError, match="no optimizer"):
        module(["a"])
    assert module.eval()(["a"]).tolist() == [[0.0] * EMB]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_dtype_gives_float32(bank, dtype):
    module = SparseFeatureEmbedding({"w": table_of(bank)}, sigma_dim=SIGMA).to(dtype)
    result = module({"w": BAGS})
    assert result.dtype == torch.float32
    rounded = copy.deepcopy(module.state_dict())
    other = SparseFeatureEmbedding({"w": table_of(bank)}, sigma_dim=SIGMA)
    other.load_state_dict(rounded)
    torch.testing.assert_close(result, other({"w": BAGS}))
    result.sum().backward()
    assert module.features["w"].theta.grad.dtype == dtype
    assert module.features["w"].sigma(["a"]).dtype == torch.float32
