"""DynamicEmbedding against nn.Embedding with torch's own sparse optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import carls
from carls.errors import InvalidKeyError, InvalidSpecError, InvalidValueError, SpecMismatchError
from carls.service import BankProcess
from carls.torch import DynamicEmbedding

DIM = 5
NAMES = [f"item {i}" for i in range(40)]


@pytest.fixture
def bank():
    with carls.connect() as bank:
        yield bank


@pytest.fixture(scope="module")
def server():
    with BankProcess() as process:
        yield process


def test_rows_of_any_shape_are_the_tables_rows(bank):
    table = bank.embeddings("t", dim=DIM, optimizer="sgd")
    module = DynamicEmbedding(table)
    keys = torch.arange(24).view(2, 3, 4)
    result = module(keys)
    assert result.shape == (2, 3, 4, DIM)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(
        result.detach().numpy().reshape(24, DIM), table.lookup(np.arange(24), create=False).values
    )


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        (["a", "b", "a"], (3,)),
        ([["a", "b"], ["c", "a"]], (2, 2)),
        ((("a",), ("b",)), (2, 1)),
        ([[["a"], ["b"]]], (1, 2, 1)),
        (np.array([["a", "b"], ["b", "b"]]), (2, 2)),
        (np.array([["a", "b"]], dtype=object), (1, 2)),
        ([b"a\0", b"a"], (2,)),
        (carls.Keys.of(["a", "b"]), (2,)),
        (np.arange(6, dtype=np.int32).reshape(2, 3), (2, 3)),
        ([1, 2], (2,)),
        (torch.tensor(7), ()),
        (torch.zeros(0, 3, dtype=torch.int64), (0, 3)),
        ([], (0,)),
    ],
)
def test_keys_come_in_many_forms(bank, keys, shape):
    module = DynamicEmbedding(bank.embeddings("t", dim=DIM, optimizer="sgd"))
    assert module(keys).shape == (*shape, DIM)


@pytest.mark.parametrize(
    "keys", [torch.zeros(3), torch.ones(2, dtype=torch.bool), [["a", "b"], ["c"]], "a", 5, [1, "a"]]
)
def test_keys_that_cannot_be_are_refused(bank, keys):
    module = DynamicEmbedding(bank.embeddings("t", dim=DIM, optimizer="sgd"))
    with pytest.raises(InvalidKeyError):
        module(keys)
    assert len(module.table) == 0


@pytest.mark.parametrize("kind", ["int", "str"])
@pytest.mark.parametrize(
    ("optimizer", "oracle_of"),
    [
        (carls.SGD(lr=0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
        (carls.Adagrad(lr=0.2), lambda p: torch.optim.Adagrad(p, lr=0.2)),
    ],
)
def test_training_equals_sparse_embedding_of_torch(bank, kind, optimizer, oracle_of):
    """Same rows, same batches with duplicates and padding, a loss that is not linear."""
    generator = torch.Generator().manual_seed(3)
    table = bank.embeddings("t", dim=DIM, optimizer=optimizer, initializer=carls.Normal(1.0))
    everything = np.arange(40) if kind == "int" else NAMES
    padding = 7 if kind == "int" else NAMES[7]
    others = np.arange(40) != 7
    start = torch.zeros(40, DIM)
    kept = everything[others] if kind == "int" else [name for name in NAMES if name != padding]
    start[torch.from_numpy(others)] = torch.from_numpy(table.lookup(kept).values.copy())
    oracle = nn.Embedding(40, DIM, sparse=True, padding_idx=7, _weight=start.clone())
    oracle_optimizer = oracle_of(oracle.parameters())
    module = DynamicEmbedding(table, padding_key=padding)

    for _ in range(8):
        indices = torch.randint(0, 40, (4, 9), generator=generator)
        keys = indices if kind == "int" else [[NAMES[i] for i in row] for row in indices.tolist()]
        target = torch.randn(4, 9, DIM, generator=generator)
        oracle_optimizer.zero_grad()
        expected = (oracle(indices) - target).pow(2).sum()
        expected.backward()
        oracle_optimizer.step()
        loss = (module(keys) - target).pow(2).sum()
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)

    module.flush()
    trained = table.lookup(kept, create=False).values
    np.testing.assert_allclose(trained, oracle.weight.detach().numpy()[others], rtol=1e-4, atol=1e-5)
    assert not table.lookup([padding], create=False).found[0], "the padding key reached the bank"


def test_gradients_are_the_derivatives_of_the_loss(bank):
    """A pushed gradient, read back through SGD with rate 1, against finite differences."""
    table = bank.embeddings("t", dim=3, optimizer=carls.SGD(lr=1.0), initializer=carls.Normal(1.0))
    module = DynamicEmbedding(table)
    keys = torch.tensor([[1, 2], [1, 3]])
    weights = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))

    def loss_of(rows):
        return (torch.sin(rows) * weights).sum() + rows[0, 0] @ rows[1, 1]

    before = table.lookup([1, 2, 3]).values.astype(np.float64)
    loss_of(module(keys)).backward()
    module.flush()
    pushed = before - table.lookup([1, 2, 3], create=False).values

    def at(values):
        return float(loss_of(torch.from_numpy(values)[torch.tensor([[0, 1], [0, 2]])]))

    weights = weights.double()
    for row in range(3):
        for column in range(3):
            up, down = before.copy(), before.copy()
            up[row, column] += 1e-5
            down[row, column] -= 1e-5
            assert pushed[row, column] == pytest.approx((at(up) - at(down)) / 2e-5, abs=1e-4)


def test_each_backward_pushes_once_stamped_with_the_step(bank):
    table = bank.embeddings("t", dim=DIM, optimizer="sgd")
    module = DynamicEmbedding(table)
    for step in (11, 12, 13):
        module.step = step
        module(["a", "a", "b"]).sum().backward()
    module.flush()
    rows = table.lookup(["a", "b"], create=False)
    assert rows.version.tolist() == [3, 3]
    assert rows.step.tolist() == [13, 13]


def test_eval_mode_creates_nothing_and_tells_what_is_missing(bank):
    table = bank.embeddings("t", dim=DIM, optimizer="sgd", initializer=carls.Constant(2.0))
    module = DynamicEmbedding(table)
    module(["a"])
    module.eval()
    result = module(["a", "new"])
    assert len(table) == 1
    assert not result.requires_grad
    assert result.tolist() == [[2.0] * DIM, [0.0] * DIM]
    assert module.last_rows.found.tolist() == [True, False]
    assert module.last_keys.tolist() == ["a", "new"]


def test_without_gradients_nothing_is_pushed(bank):
    table = bank.embeddings("t", dim=DIM, optimizer="sgd")
    module = DynamicEmbedding(table)
    with torch.no_grad():
        assert not module(["a"]).requires_grad
    module.flush()
    assert table.lookup(["a"], create=False).version[0] == 0


def test_only_padding_asks_the_bank_for_nothing(bank):
    table = bank.embeddings("t", dim=DIM, optimizer="sgd")
    module = DynamicEmbedding(table, padding_key=-1)
    result = module(torch.full((2, 3), -1))
    assert result.shape == (2, 3, DIM)
    assert not result.any()
    assert module.last_rows is None
    assert len(table) == 0


def test_table_without_optimizer_is_read_but_not_trained(bank):
    table = bank.embeddings("t", dim=DIM)
    module = DynamicEmbedding(table)
    with pytest.raises(InvalidSpecError, match="no optimizer"):
        module(["a"])
    assert len(table) == 0
    module.eval()
    assert module(["a"]).shape == (1, DIM)


def test_rejected_gradients_are_raised_at_the_next_call(bank):
    module = DynamicEmbedding(bank.embeddings("t", dim=DIM, optimizer="sgd"))
    (module(["a"]) * float("nan")).sum().backward()
    with pytest.raises(InvalidValueError, match="nan"):
        module.flush()
    module.flush()


def test_prefetched_batches_are_what_plain_ones_would_be(server):
    with carls.connect(server.url) as bank:
        plain = DynamicEmbedding(bank.embeddings("prefetch.a", dim=DIM, seed=4, optimizer=carls.SGD(lr=0.1)))
        ahead = DynamicEmbedding(bank.embeddings("prefetch.b", dim=DIM, seed=4, optimizer=carls.SGD(lr=0.1)))
        batches = [[[f"{b} {i}" for i in range(8)], ["twice"] * 8] for b in range(6)]
        ahead.prefetch(batches[0])
        for number, batch in enumerate(batches):
            if number + 1 < len(batches):
                ahead.flush()  # else rows that are fetched ahead may miss the newest push
                ahead.prefetch(batches[number + 1])
            expected, got = plain(batch), ahead(batch)
            torch.testing.assert_close(got[0], expected[0])
            assert got.shape == expected.shape
            expected.sum().backward()
            got.sum().backward()
        for module in (plain, ahead):
            module.flush()
        a, b = (module.table.lookup(["twice"], create=False) for module in (plain, ahead))
        np.testing.assert_allclose(a.values, b.values, rtol=1e-5)
        assert a.count.tolist() == b.count.tolist(), "a prefetched look-up was not taken"


def test_from_pretrained_and_to_embedding_are_inverse(bank):
    matrix = torch.randn(6, DIM)
    names = NAMES[:6]
    module = DynamicEmbedding.from_pretrained(bank.embeddings("t", dim=DIM, optimizer="sgd"), names, matrix)
    torch.testing.assert_close(module(names).detach(), matrix)
    order = names[::-1]
    torch.testing.assert_close(module.to_embedding(order).weight.detach(), matrix.flip(0))


def test_to_embedding_keeps_padding_and_refuses_missing_keys(bank):
    table = bank.embeddings("t", dim=DIM, optimizer="sgd")
    module = DynamicEmbedding(table, padding_key="<pad>")
    module(["a", "b"])
    embedding = module.to_embedding(["a", "<pad>", "b"])
    assert embedding.padding_idx == 1
    assert not embedding.weight[1].any()
    torch.testing.assert_close(embedding.weight[[0, 2]].detach(), module(["a", "b"]).detach())
    with pytest.raises(InvalidKeyError, match="'unknown'"):
        module.to_embedding(["a", "unknown"])
    with pytest.raises(InvalidKeyError, match="once"):
        module.to_embedding(["a", "a"])


def test_from_pretrained_refuses_another_shape(bank):
    with pytest.raises(InvalidValueError, match=r"\(3, 5\)"):
        DynamicEmbedding.from_pretrained(bank.embeddings("t", dim=DIM), ["a", "b", "c"], np.zeros((3, 4)))


def test_state_dict_names_the_table_and_holds_no_rows(bank, tmp_path):
    module = nn.Sequential(
        DynamicEmbedding(bank.embeddings("t", dim=DIM, optimizer="sgd")), nn.Linear(DIM, 2)
    )
    module[0](["a"])
    path = tmp_path / "state.pt"
    torch.save(module.state_dict(), path)
    state = torch.load(path, weights_only=True)
    assert state["0._extra_state"]["table"] == "t"
    assert state["0._extra_state"]["bank"] == "memory://"
    module.load_state_dict(state)
    assert [name for name, _ in module.named_parameters()] == ["1.weight", "1.bias"]


def test_state_of_another_table_or_spec_is_refused(bank):
    state = DynamicEmbedding(bank.embeddings("t", dim=DIM, optimizer="sgd")).state_dict()
    for other in (bank.embeddings("u", dim=DIM, optimizer="sgd"), carls.connect().embeddings("t", dim=3)):
        with pytest.raises(SpecMismatchError, match="'t'"):
            DynamicEmbedding(other).load_state_dict(state)


@pytest.mark.gpu
def test_cuda_tensors_go_there_and_back(bank):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    table = bank.embeddings("t", dim=DIM, optimizer=carls.SGD(lr=1.0))
    before = table.lookup([1, 2]).values.copy()
    keys = torch.tensor([[1, 2], [1, 9]], device="cuda")
    module = DynamicEmbedding(table, padding_key=9)
    result = module(keys)
    assert result.device.type == "cuda"
    np.testing.assert_array_equal(result[0].detach().cpu().numpy(), before)
    assert not result[1, 1].any()
    (result * 2).sum().backward()
    module.flush()
    np.testing.assert_allclose(table.lookup([1, 2], create=False).values, before - [[4.0], [2.0]], rtol=1e-6)
    assert DynamicEmbedding(table, device="cuda").eval()([1]).device.type == "cuda"


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"wire_dtype": "float16"}], ids=str)
def test_float16_rows_train_in_float32(bank, options):
    table = bank.embeddings("t", dim=DIM, optimizer=carls.SGD(lr=0.5), **options)
    module = DynamicEmbedding(table)
    start = table.lookup(NAMES, create=True).values.astype(np.float32)
    with torch.no_grad():
        assert module(NAMES).dtype == torch.float32
    result = module(NAMES)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result.detach().numpy(), start)
    weight = torch.randn(len(NAMES), DIM)
    (result * weight).sum().backward()
    module.flush()
    # Rounded once on the way of the gradient or in the row; then on the way back, or not again.
    expected = start - 0.5 * weight.numpy()
    np.testing.assert_allclose(table.lookup(NAMES).values, expected, rtol=2e-3, atol=2e-3)
    copied = module.to_embedding(NAMES)
    assert copied.weight.dtype == torch.float32
    np.testing.assert_array_equal(copied.weight.detach().numpy(), table.lookup(NAMES).values)


def test_pretrained_values_are_rounded_to_the_tables_dtype(bank):
    matrix = torch.randn(len(NAMES), DIM)
    table = bank.embeddings("t", dim=DIM, dtype="float16", optimizer="sgd")
    module = DynamicEmbedding.from_pretrained(table, NAMES, matrix)
    torch.testing.assert_close(module(NAMES).detach(), matrix.half().float(), rtol=0, atol=0)


def test_a_deep_copy_shares_the_table(bank, server):
    with carls.connect(server.url) as remote:
        for place in (bank, remote):
            table = place.embeddings("copied", dim=DIM, optimizer=carls.SGD(lr=1.0))
            model = nn.Sequential(DynamicEmbedding(table), nn.Linear(DIM, 1))
            before = model[0](["a"]).detach()
            averaged = torch.optim.swa_utils.AveragedModel(model)
            model[0](["a"]).sum().backward()
            averaged.update_parameters(model)
            # The copy reads what the original pushed, without a flush.
            torch.testing.assert_close(averaged.module[0](["a"]).detach(), before - 1)
            assert averaged.module[0].table is table
            assert averaged.module[1].weight is not model[1].weight
