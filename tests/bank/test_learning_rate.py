"""Changes of a table's learning rate in the engine: once each, remembered, up to a limit."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from carls.bank import Engine
from carls.bank.embeddings import MAX_LEARNING_RATES
from carls.messages import (
    AgeBound,
    DescribeTable,
    Lookup,
    OpenTable,
    PushGradients,
    RowBatch,
    SetLearningRate,
    TableInfo,
    WriteId,
)
from carls.specs import EmbeddingSpec, FeatureSpec

SPEC = EmbeddingSpec(dim=2, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())
ONE, OTHER = "1" * 32, "2" * 32


def opened(engine: Engine, spec: EmbeddingSpec = SPEC) -> TableInfo:
    info = engine.handle(OpenTable("t", spec.to_json()))
    assert isinstance(info, TableInfo)
    return info


def rates(engine: Engine) -> list[float]:
    info = engine.handle(DescribeTable("t"))
    assert isinstance(info, TableInfo)
    return [rate.lr for rate in info.learning_rates]


def test_a_late_repeat_does_not_undo_what_came_after() -> None:
    engine = Engine()
    opened(engine)
    first = SetLearningRate("t", 0.5, 1, "one", WriteId(ONE, 1, True))
    engine.handle(first)
    engine.handle(SetLearningRate("t", 0.1, 2, "two", WriteId(OTHER, 1, True)))
    engine.handle(first)  # its reply was lost
    assert rates(engine) == [0.5, 0.1]


@pytest.mark.parametrize("keys", [None, "int64"])
def test_a_rate_set_before_the_first_row_holds(keys: str | None) -> None:
    engine = Engine()
    opened(engine, EmbeddingSpec(dim=2, optimizer=SPEC.optimizer, initializer=carls.Zeros(), keys=keys))
    engine.handle(SetLearningRate("t", 0.5, -1, "one", WriteId(ONE, 1, True)))
    batch = carls.Keys.of([1])
    ones = np.ones((1, 2), np.float32)
    engine.handle(PushGradients("t", batch, ones, -1, "one", WriteId(ONE, 2, False)))
    engine.handle(SetLearningRate("t", 0.5, -1, "one", WriteId(ONE, 3, False)))
    rows = engine.handle(Lookup("t", batch, False, AgeBound(), 0, "me"))
    assert isinstance(rows, RowBatch)
    assert rows.values.tolist() == [[-0.5, -0.5]]
    assert rates(engine) == [0.5]


def test_a_table_remembers_the_newest_rates() -> None:
    engine = Engine()
    opened(engine)
    many = MAX_LEARNING_RATES + 20
    for i in range(1, many + 1):
        engine.handle(SetLearningRate("t", i / many / 2, i, "one", WriteId(ONE, i, i == 1)))
    assert rates(engine) == [i / many / 2 for i in range(21, many + 1)]
    assert opened(engine).spec["optimizer"]["lr"] == 1.0


def test_features_and_strangers_are_refused() -> None:
    engine = Engine()
    engine.handle(OpenTable("f", FeatureSpec(columns=(("label", "int32"),)).to_json()))
    with pytest.raises(carls.SpecMismatchError, match="feature"):
        engine.handle(SetLearningRate("f", 0.5, -1, "one", WriteId(ONE, 1, True)))
    with pytest.raises(carls.UnknownTableError):
        engine.handle(SetLearningRate("t", 0.5, -1, "one", WriteId(ONE, 1, True)))
    opened(engine)
    with pytest.raises(carls.InvalidRequestError, match="producer"):
        engine.handle(SetLearningRate("t", 0.5, -1, "", WriteId(ONE, 1, True)))
    assert rates(engine) == []
