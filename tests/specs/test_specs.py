"""Specs and policies: checked when made, equal after a trip through JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import carls
from carls.specs import EmbeddingSpec, FeatureSpec, GaussianMemorySpec, Initializer, Optimizer, spec_from_json

FINITE = st.floats(-1e13, 1e13)
POSITIVE = st.floats(1e-6, 1e6)
SHARE = st.floats(0, 0.999)
COMMON = {"lr": POSITIVE, "weight_decay": st.floats(0, 1), "max_norm": st.none() | POSITIVE}
ACCUMULATING = {"initial_accumulator": POSITIVE, "eps": POSITIVE}
OPTIMIZERS = (
    st.builds(carls.SGD, **COMMON)
    | st.builds(carls.Momentum, momentum=SHARE, nesterov=st.booleans(), **COMMON)
    | st.builds(carls.Adagrad, **ACCUMULATING, **COMMON)
    | st.builds(carls.RowwiseAdagrad, **ACCUMULATING, **COMMON)
    | st.builds(carls.Adam, beta1=SHARE, beta2=SHARE, eps=POSITIVE, **COMMON)
    | st.builds(
        carls.FTRL,
        beta=POSITIVE,
        l1=POSITIVE,
        l2=POSITIVE,
        lr_power=st.floats(-1, 0),
        initial_accumulator=POSITIVE,
        **COMMON,
    )
)
INITIALIZERS = (
    st.just(carls.Zeros())
    | st.builds(carls.Constant, FINITE)
    | st.builds(carls.Uniform, st.floats(-9, 0), st.floats(0, 9))
    | st.builds(carls.Normal, POSITIVE, FINITE)
)
EVICTIONS = st.sampled_from([None, carls.LRU(), carls.LFU(), carls.FIFO(), carls.TTL(2.5)])
LIMITED = st.fixed_dictionaries(
    {"max_rows": st.integers(1, 2**40), "eviction": EVICTIONS},
    optional={
        "max_bytes": st.integers(2**30, 2**50),
        "admission": st.builds(carls.Admission, st.integers(1, 255), st.integers(1024, 2**20)),
    },
)
AGGREGATIONS = st.none() | st.builds(
    carls.Lazy,
    max_pending=st.integers(1, 2**24),
    max_delay_s=st.floats(1e-3, 1e8),
    outlier_factor=st.floats(1.5, 1e6),
    outliers=st.sampled_from(["clip", "drop"]),
)
#: There is nothing to aggregate without an optimizer.
LEARNING = st.just({}) | st.fixed_dictionaries({"optimizer": OPTIMIZERS, "aggregate": AGGREGATIONS})
KEY_TYPES = st.sampled_from([None, "int64", "string", "bytes"])


@given(st.integers(1, 65536), st.integers(0, 2**64 - 1), KEY_TYPES, LEARNING, INITIALIZERS)
def test_embedding_specs_survive_json(
    dim: int, seed: int, keys: str | None, learning: dict[str, Any], initializer: carls.Initializer
) -> None:
    spec = EmbeddingSpec(dim=dim, seed=seed, keys=keys, initializer=initializer, **learning)
    assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(LIMITED)
def test_limits_survive_json(limits: dict[str, Any]) -> None:
    spec = EmbeddingSpec(dim=2, **limits)
    assert spec.eviction == (limits["eviction"] or carls.LRU())
    assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
        st.sampled_from(["int32", "list<string>"]),
        min_size=1,
    ),
    KEY_TYPES,
)
def test_feature_specs_survive_json(columns: dict[str, str], keys: str | None) -> None:
    spec = FeatureSpec(columns=tuple(columns.items()), keys=keys)
    assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec


MEMORY: dict[str, Any] = {
    "dim": 4,
    "buffer_size": 8,
    "distance_threshold": 2,
    "max_clusters": 100,
    "bootstrap_steps": 10,
    "min_variance": 1e-3,
}


@given(
    st.builds(
        GaussianMemorySpec,
        dim=st.integers(1, 64),
        buffer_size=st.integers(1, 64),
        distance_threshold=st.floats(0, 1),
        max_clusters=st.integers(1, 65536),
        bootstrap_steps=st.integers(0, 2**62),
        min_variance=st.floats(1e-30, 1e30),
        distance=st.sampled_from(["squared_l2", "gaussian"]),
    )
)
def test_memory_specs_survive_json(spec: GaussianMemorySpec) -> None:
    assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_numbers_of_a_memory_become_floats() -> None:
    assert GaussianMemorySpec(**MEMORY) == GaussianMemorySpec(
        **MEMORY | {"distance_threshold": np.float64(2)}
    )
    assert type(GaussianMemorySpec(**MEMORY).distance_threshold) is float


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"dim": 65537},
        {"buffer_size": 0},
        {"max_clusters": 0},
        {"max_clusters": 2**21},
        {"bootstrap_steps": -1},
        {"bootstrap_steps": 1.5},
        {"min_variance": 0.0},
        {"min_variance": float("nan")},
        {"min_variance": True},
        {"distance_threshold": -1.0},
        {"distance_threshold": float("inf")},
        {"distance_threshold": "far"},
        {"distance": "cosine"},
        {"distance": None},
        {"distance_threshold": 1.5, "distance": "gaussian"},
        {"max_clusters": 2**10, "buffer_size": 2**17},
    ],
    ids=str,
)
def test_memories_that_cannot_be(change: dict[str, Any]) -> None:
    field, value = next(iter(change.items()))
    with pytest.raises(carls.InvalidSpecError, match=field) as raised:
        GaussianMemorySpec(**MEMORY | change)
    assert str(value) in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"dim": 0}, "0"),
        ({"dim": 65537}, "65537"),
        ({"dim": 2.0}, "2.0"),
        ({"dim": True}, "True"),
        ({"dim": 2, "dtype": "float64"}, "float64"),
        ({"dim": 2, "dtype": 16}, "16"),
        ({"dim": 2, "dtype": "float16", "initializer": carls.Constant(-65505)}, "-65505"),
        ({"dim": 2, "dtype": "float16", "initializer": carls.Uniform(0, 7e4)}, "70000"),
        ({"dim": 2, "dtype": "float16", "initializer": carls.Normal(8000)}, "8000"),
        ({"dim": 2, "seed": -1}, "-1"),
        ({"dim": 2, "keys": "int32"}, "int32"),
        ({"dim": 2, "optimizer": "adam9"}, "adam9"),
        ({"dim": 2, "optimizer": {"name": "sgd", "rate": 1}}, "rate"),
        ({"dim": 2, "optimizer": {"name": "adam", "max_norm": -2}}, "max_norm=-2"),
        ({"dim": 2, "initializer": 5}, "5"),
        ({"dim": 2, "max_rows": 0}, "max_rows=0"),
        ({"dim": 2, "max_rows": 2.5}, "2.5"),
        ({"dim": 2, "max_bytes": 70_000}, "max_bytes=70000"),
        ({"dim": 2, "max_bytes": 1 << 20, "admission": carls.Admission(2)}, "max_bytes=1048576"),
        ({"dim": 2, "eviction": "lru"}, "without a limit"),
        ({"dim": 2, "max_rows": 2, "eviction": "random"}, "random"),
        ({"dim": 2, "eviction": "ttl"}, "seconds"),
        ({"dim": 2, "admission": "lru"}, "lru"),
        ({"dim": 2, "aggregate": "lazy"}, "without an optimizer"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": "mean"}, "mean"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": {"name": "lazy", "max_pending": 1.5}}, "1.5"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": {"name": "lazy", "max_pending": 2**25}}, "33554432"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": {"name": "lazy", "max_delay_s": 0}}, "max_delay_s=0"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": {"name": "lazy", "outlier_factor": 1}}, "outlier"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": {"name": "lazy", "outliers": "keep"}}, "keep"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": {"name": "lazy", "outliers": 5}}, "expected a str"),
        ({"dim": 2, "optimizer": "sgd", "aggregate": "lazy", "max_bytes": 75_000}, "max_bytes=75000"),
    ],
    ids=str,
)
def test_specs_that_cannot_be_name_the_value(arguments: dict[str, Any], value: str) -> None:
    with pytest.raises(carls.InvalidSpecError, match=value):
        EmbeddingSpec(**arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: carls.SGD(lr=-1),
        lambda: carls.SGD(lr=float("nan")),
        lambda: carls.SGD(lr="fast"),  # type: ignore[arg-type]
        lambda: carls.Adagrad(eps=0),
        lambda: carls.Adagrad(initial_accumulator=-0.1),
        lambda: carls.Uniform(1, 0),
        lambda: carls.Normal(-1),
        lambda: carls.Constant(float("inf")),
        lambda: carls.Constant(1e39),
        lambda: carls.Constant(10**400),
        lambda: carls.Normal(1e38),
        lambda: carls.SGD(lr=1e39),
        lambda: carls.Adagrad(eps=1e-50),
        lambda: carls.SGD(lr=None),  # type: ignore[arg-type]
        lambda: carls.SGD(weight_decay=-0.1),
        lambda: carls.SGD(max_norm=0),
        lambda: carls.SGD(max_norm=True),
        lambda: carls.SGD(max_norm=float("inf")),
        lambda: carls.Momentum(momentum=1.0),
        lambda: carls.Momentum(momentum=-0.1),
        lambda: carls.Momentum(nesterov=1),  # type: ignore[arg-type]
        lambda: carls.Momentum(nesterov=None),  # type: ignore[arg-type]
        lambda: carls.RowwiseAdagrad(eps=0),
        lambda: carls.Adam(beta1=1.0),
        lambda: carls.Adam(beta2=1.0),
        lambda: carls.Adam(beta2=-0.5),
        lambda: carls.Adam(eps=0),
        lambda: carls.FTRL(l1=-1),
        lambda: carls.FTRL(lr_power=0.5),
        lambda: carls.FTRL(lr_power=-1.5),
        lambda: carls.FTRL(beta=0),
        lambda: carls.SGD().with_lr(-1.0),
        lambda: EmbeddingSpec(dim=2, optimizer=carls.Optimizer()),
        lambda: FeatureSpec(columns=None),  # type: ignore[arg-type]
        lambda: spec_from_json({"kind": []}),
        lambda: FeatureSpec(columns=()),
        lambda: FeatureSpec(columns=(("a", "int8"),)),
        lambda: FeatureSpec(columns=(("a/b", "int32"),)),
        lambda: FeatureSpec(columns=(("a", "int32"), ("a", "int32"))),
        lambda: spec_from_json({"kind": "tasks"}),
        lambda: spec_from_json({"kind": "embedding", "dims": 3}),
    ],
)
def test_policies_that_cannot_be(make: Any) -> None:
    with pytest.raises(carls.InvalidSpecError):
        make()


def test_policies_by_name_and_by_json() -> None:
    assert Optimizer.of("adagrad") == carls.Adagrad()
    assert Optimizer.of("adam") == carls.Adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8)
    for name in ("sgd", "momentum", "adagrad", "rowwise_adagrad", "adam", "ftrl"):
        assert Optimizer.of(name).name == name
        assert Optimizer.of({"name": name, "lr": 0.5, "max_norm": None}).with_lr(0.25).lr == 0.25
    assert Optimizer.of({"name": "sgd", "lr": 0.5}) == carls.SGD(0.5)
    assert Initializer.of("zeros") == carls.Zeros()
    with pytest.raises(carls.InvalidSpecError, match="adagrad"):
        Optimizer.of("normal")


def test_a_rowwise_adagrad_is_no_adagrad() -> None:
    assert carls.RowwiseAdagrad(0.1) != carls.Adagrad(0.1)
    assert carls.FTRL(beta=0, initial_accumulator=0.1).beta == 0


def test_numpy_numbers_are_numbers() -> None:
    spec = EmbeddingSpec(dim=np.int64(4), seed=np.uint64(3), optimizer=carls.SGD(lr=np.float32(0.5)))  # type: ignore[arg-type]
    assert spec == EmbeddingSpec(dim=4, seed=3, optimizer=carls.SGD(lr=0.5))
    assert json.loads(json.dumps(spec.to_json()))["dim"] == 4


def test_open_keys_accept_any_key_type() -> None:
    fixed = EmbeddingSpec(dim=2, keys="string")
    assert fixed.accepts(EmbeddingSpec(dim=2))
    assert not fixed.accepts(EmbeddingSpec(dim=2, keys="int64"))
    assert not fixed.accepts(EmbeddingSpec(dim=3))
