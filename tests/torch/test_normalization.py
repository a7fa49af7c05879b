"""GaussianMemory and DynamicNormalization against their rules and formulas, point by point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import carls
from carls.errors import InvalidRequestError, InvalidSpecError, InvalidValueError, SpecMismatchError
from carls.testing.memories import PlainMemory
from carls.torch import DynamicNormalization, GaussianMemory

DIM = 6
POLICY = {
    "dim": DIM,
    "buffer_size": 5,
    "distance_threshold": 5.0,
    "max_clusters": 10,
    "bootstrap_steps": 0,
    "min_variance": 1e-2,
}
GAUSSIAN = POLICY | {"distance": "gaussian", "distance_threshold": 0.6}


@pytest.fixture
def bank():
    with carls.connect() as bank:
        yield bank


def images(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (7, DIM)), (1, (3, DIM, 2, 4)), (0, (DIM, 5)), (-2, (2, DIM, 3)), (0, (DIM,))]
)
@pytest.mark.parametrize("policy", [POLICY, GAUSSIAN], ids=["squared_l2", "gaussian"])
def test_all_axes_but_the_features_are_points(bank, axis, shape, policy):
    module = GaussianMemory(bank.gaussian_memory("m", **policy), axis=axis)
    plain = PlainMemory(**{"distance": "squared_l2"} | policy)
    for step in range(4):
        if step == 3:
            module.eval()
        x = images(step, *shape).requires_grad_()
        found = module(x)
        points = np.moveaxis(x.detach().numpy(), axis, -1)
        expected = plain.lookup(points.reshape(-1, DIM), "grow" if module.training else "read")
        np.testing.assert_array_equal(found.cluster.reshape(-1), expected[0])
        for mine, its in ((found.mean, expected[1]), (found.variance, expected[2])):
            assert mine.shape == x.shape
            np.testing.assert_allclose(mine.movedim(axis, -1).reshape(-1, DIM), its, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.distance.reshape(-1), expected[3], rtol=1e-5, atol=1e-6)
        assert found.distance.shape == found.cluster.shape == points.shape[:-1]
        assert not any(part.requires_grad for part in found)
    score = module.ood_score(x)
    squares = (points - np.moveaxis(found.mean.numpy(), axis, -1)) ** 2
    if policy is GAUSSIAN:
        squares = squares / np.moveaxis(found.variance.numpy(), axis, -1) / DIM
    np.testing.assert_allclose(score, squares.sum(-1), rtol=1e-5)


@pytest.mark.parametrize("mode", ["read", "update", "grow"])
def test_training_uses_its_mode_and_eval_only_reads(bank, mode):
    memory = bank.gaussian_memory("m", **POLICY)
    module = nn.Sequential(nn.Linear(DIM, DIM), DynamicNormalization(memory, mode=mode))
    for _ in range(3):
        module(images(0, 50, DIM) * 5)
    calls = memory.statistics().memory.calls
    assert calls == (0 if mode == "read" else 3)
    assert (len(memory) > 1) == (mode == "grow")
    before = memory.export()
    module.eval()
    module(images(1, 50, DIM) * 50)
    module[1].ood_score(images(1, 50, DIM))
    for name, array in memory.export().items():
        np.testing.assert_array_equal(array, before[name])


def dynamic(x, m, v, p_scale, p_offset, g_scale, g_offset, eps):
    """The formula for one point, in numpy."""
    ratio = (np.sum(m * m) + p_scale * m + p_offset) / (np.sum(x * x) + eps)
    return ((1 + ratio) * x - 2 * (g_scale * m + g_offset)) / np.sqrt(v + eps)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (9, DIM)), (1, (3, DIM, 2, 2))])
@pytest.mark.parametrize("formula", ["dynamic", "batch_norm"])
def test_formulas_point_by_point(bank, axis, shape, formula):
    layer = DynamicNormalization(bank.gaussian_memory("m", **POLICY), axis=axis, formula=formula)
    draw = torch.Generator().manual_seed(5)
    for parameter in layer.parameters():
        parameter.data = torch.randn(DIM, generator=draw)
    values = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    for step in range(3):
        layer(images(step, *shape))
    layer.eval()
    x = images(9, *shape)
    result = layer(x).detach().movedim(axis, -1).reshape(-1, DIM).numpy()
    points = x.movedim(axis, -1).reshape(-1, DIM).numpy()
    found = layer.memory.memory.lookup(points)
    for y, point, m, v in zip(result, points, found.mean, found.variance, strict=True):
        if formula == "dynamic":
            names = ("prior_scale", "prior_offset", "mean_scale", "mean_offset")
            expected = dynamic(point, m, v, *(values[name] for name in names), layer.eps)
        else:
            expected = (point - m) / np.sqrt(v + layer.eps) * values["weight"] + values["bias"]
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_it_starts_as_the_reference_does(bank):
    layer = DynamicNormalization(bank.gaussian_memory("m", **POLICY))
    assert {name: p.unique().tolist() for name, p in layer.named_parameters()} == {
        "prior_scale": [1.0],
        "mean_scale": [1.0],
        "prior_offset": [0.0],
        "mean_offset": [0.0],
    }


def test_one_cluster_is_batch_normalisation(bank):
    memory = bank.gaussian_memory("m", **POLICY | {"buffer_size": 64, "min_variance": 1e-9})
    mine = DynamicNormalization(memory, axis=1, mode="update", formula="batch_norm", eps=1e-5)
    its = nn.BatchNorm2d(DIM)
    x = images(0, 4, DIM, 4, 4)
    torch.testing.assert_close(mine(x), its(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("formula", ["dynamic", "batch_norm"])
def test_gradients_are_those_with_constant_clusters(bank, formula):
    layer = DynamicNormalization(bank.gaussian_memory("m", **POLICY), formula=formula)
    layer(images(0, 20, DIM))
    layer.eval()
    x = images(1, 4, DIM).double().requires_grad_()
    # Double precision would change the points: those of a small step stay with their clusters.
    assert torch.autograd.gradcheck(layer.double(), (x,), eps=1e-6, atol=1e-4)


def test_half_precision_stays_half(bank):
    layer = DynamicNormalization(bank.gaussian_memory("m", **POLICY))
    x = images(0, 8, DIM)
    layer(x)
    layer.eval()
    half = layer(x.half())
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), layer(x.half().float()), rtol=1e-2, atol=1e-2)


def test_no_points_are_no_call(bank):
    memory = bank.gaussian_memory("m", **POLICY)
    layer = DynamicNormalization(memory)
    assert layer(torch.zeros(0, DIM)).shape == (0, DIM)
    assert layer.ood_score(torch.zeros(0, DIM)).shape == (0,)
    assert memory.statistics().memory.calls == 0


def test_state_names_the_memory(bank, tmp_path):
    memory = bank.gaussian_memory("m", **POLICY)
    layer = DynamicNormalization(memory)
    layer(images(0, 9, DIM))
    layer.mean_scale.data += 1
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["memory._extra_state"]["table"] == "m"
    assert "content" not in state["memory._extra_state"]
    again = DynamicNormalization(memory)
    again.load_state_dict(state)
    layer.eval(), again.eval()
    torch.testing.assert_close(again(images(1, 5, DIM)), layer(images(1, 5, DIM)), rtol=0, atol=0)
    for other in (bank.gaussian_memory("o", **POLICY), bank.gaussian_memory("p", **GAUSSIAN)):
        with pytest.raises(SpecMismatchError, match="'m'"):
            DynamicNormalization(other).load_state_dict(state)


def test_state_with_content_moves_to_another_bank(bank, tmp_path):
    layer = DynamicNormalization(bank.gaussian_memory("m", **POLICY), keep_content=True)
    for step in range(3):
        layer(images(step, 9, DIM))
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    with carls.connect() as other:
        again = DynamicNormalization(other.gaussian_memory("n", **POLICY))
        again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert again.memory.memory.statistics().memory == layer.memory.memory.statistics().memory
        for _ in range(2):
            x = images(7, 20, DIM)
            torch.testing.assert_close(again(x), layer(x), rtol=0, atol=0)


def test_wrong_arguments_are_named(bank):
    memory = bank.gaussian_memory("m", **POLICY)
    with pytest.raises(InvalidSpecError, match="'layer'"):
        DynamicNormalization(memory, formula="layer")
    with pytest.raises(InvalidRequestError, match="'write'"):
        GaussianMemory(memory, mode="write")
    for x in (torch.zeros(3, DIM + 1), torch.zeros(3, DIM, dtype=torch.int64), torch.zeros(())):
        with pytest.raises(InvalidValueError, match="axis -1"):
            DynamicNormalization(memory)(x)
    with pytest.raises(InvalidValueError, match="axis 2"):
        GaussianMemory(memory, axis=2)(torch.zeros(3, DIM))
    assert memory.statistics().memory.calls == 0


@pytest.mark.gpu
def test_cuda_tensors_go_there_and_back(bank):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    layer = DynamicNormalization(bank.gaussian_memory("m", **POLICY))
    x = images(0, 9, DIM)
    layer(x)
    layer.eval()
    expected = layer(x)
    layer.cuda()
    found = layer(x.cuda())
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
    assert layer.ood_score(x.cuda()).device.type == "cuda"
