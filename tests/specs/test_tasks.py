"""The spec of tables of tasks: checked when made, equal after a trip through JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import carls
from carls import mtl
from carls.specs import TaskSpec, spec_from_json

SHARE = st.floats(0, 1)
WEIGHT = st.floats(1e-3, 1e3)
RELATIONS = st.integers(1, 4).flatmap(
    lambda tasks: st.lists(
        st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=2), min_size=tasks, max_size=tasks
    )
)
QUADRATIC = st.just(mtl.Ridge()) | st.just(mtl.MeanRegularized()) | st.builds(mtl.Graph, RELATIONS)
NORM = (
    st.just(mtl.Nuclear())
    | st.just(mtl.L21())
    | st.just(mtl.L1())
    | st.builds(mtl.SparseRows, WEIGHT, WEIGHT)
    | st.builds(mtl.ElasticNet, SHARE)
)
SUM = st.lists(st.tuples(WEIGHT, st.just("mean") | st.just("ridge")), min_size=1, max_size=3).map(mtl.Sum)
ALGORITHM = st.builds(
    mtl.DouglasRachford, synchronous=st.booleans(), eta=st.floats(0.1, 1.9), stiffness=WEIGHT
) | st.builds(mtl.ForwardBackward, synchronous=st.booleans(), adaptive=st.booleans(), c=st.floats(0.1, 0.9))


@given(st.integers(1, 2**19), QUADRATIC | NORM | SUM, st.floats(1e-15, 1e15), ALGORITHM)
def test_specs_survive_json(dim: int, regularizer: Any, rho: float, algorithm: Any) -> None:
    spec = TaskSpec(dim, regularizer, rho, algorithm)
    found = spec_from_json(json.loads(json.dumps(spec.to_json())))
    assert found == spec
    assert spec.accepts(found)
    assert found.to_json() == json.loads(json.dumps(spec.to_json()))


def test_names_stand_for_objects() -> None:
    assert TaskSpec(3) == TaskSpec(np.int64(3), "nuclear", 1, {"name": "douglas_rachford"})  # type: ignore[arg-type]
    assert TaskSpec(3, "mean") != TaskSpec(3, mtl.Ridge())  # type: ignore[arg-type]
    assert carls.TaskSpec is TaskSpec


class Own(mtl.Nuclear):
    """A regularizer that no bank knows."""


class Algorithm(mtl.DouglasRachford):
    """An algorithm that no bank knows."""


def sums(depth: int) -> Any:
    return {"name": "sum", "terms": [[1.0, sums(depth - 1)]]} if depth else "ridge"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"regularizer": sums(2)}, "closed"),
        ({"regularizer": sums(400)}, "expected one sum"),
        ({"dim": 0}, "dim=0: expected an integer from 1"),
        ({"dim": 2.0}, "dim=2.0"),
        ({"dim": True}, "dim=True"),
        ({"rho": 0}, "rho=0: expected a number"),
        ({"rho": float("inf")}, "rho=inf"),
        ({"rho": None}, "rho=None"),
        ({"regularizer": "lasso"}, "unknown regularizer 'lasso'"),
        ({"regularizer": None}, "regularizer=None of type NoneType: expected one of"),
        ({"regularizer": Own()}, "of type Own: expected one of .*'nuclear'.* in JSON, which one of your own"),
        ({"regularizer": {"name": "nuclear", "rank": 3}}, "rank"),
        ({"algorithm": Algorithm()}, "of type Algorithm: expected one of .*in JSON"),
        ({"algorithm": "newton"}, "unknown algorithm 'newton'"),
        ({"algorithm": {"name": "douglas_rachford", "eta": 2.0}}, "0 < eta < 2"),
        ({"regularizer": mtl.Graph(np.full((500, 500), 1 / 3))}, "expected at most 4194304.*factor"),
    ],
)
def test_specs_that_cannot_be(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(carls.InvalidSpecError, match=told):
        TaskSpec(**{"dim": 3, **arguments})
