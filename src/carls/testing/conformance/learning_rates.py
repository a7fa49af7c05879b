"""Learning rates that change while a table is used."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from carls.client import Bank

_ONE = np.ones((1, 2), np.float32)


class LearningRates:
    """Learning rates that change while a table is used."""

    def test_a_new_rate_is_for_the_pushes_to_come(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0), initializer="zeros")
        other = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0), initializer="zeros")
        table.push_gradients_async([1], _ONE)
        table.set_learning_rate_async(0.25, step=7)
        table.push_gradients_async([1], _ONE)
        table.flush()
        other.push_gradients([1], _ONE)
        assert table.lookup([1]).values.tolist() == [[-1.5, -1.5]]

    def test_describe_tells_the_rates_since(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.Adam(lr=0.1))
        assert table.describe().learning_rates == ()
        table.set_learning_rate(0.05, step=10)
        table.set_learning_rate(0.05, step=11)  # the rate of now: no change
        table.set_learning_rate(0.1)
        info = bank.describe("t")
        assert [tuple(rate)[:3] for rate in info.learning_rates] == [
            (0.05, 10, bank.producer),
            (0.1, -1, bank.producer),
        ]
        ages = [rate.age for rate in info.learning_rates]
        assert 0 <= ages[1] <= ages[0] < 60
        assert info.spec["optimizer"]["lr"] == 0.1

    def test_a_table_opens_with_its_first_rate_and_with_that_of_now(self, bank: Bank) -> None:
        first = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0), initializer="zeros")
        first.set_learning_rate(0.5, step=3)
        first.set_learning_rate(0.25, step=4)
        for key, lr in enumerate((1.0, 0.25)):
            again = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=lr), initializer="zeros")
            assert again.spec.optimizer == first.spec.optimizer == carls.SGD(lr=1.0)
            again.push_gradients([key], _ONE)
        assert first.lookup([0, 1]).values.tolist() == [[-0.25, -0.25]] * 2
        for lr in (0.5, 0.1):
            with pytest.raises(carls.SpecMismatchError) as caught:
                bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=lr), initializer="zeros")
            rates = caught.value.details["learning_rates"]
            assert [rate[:3] for rate in rates] == [[0.5, 3, bank.producer], [0.25, 4, bank.producer]]
            assert f"0.25, 4, '{bank.producer}'" in str(caught.value)
        with pytest.raises(carls.SpecMismatchError):
            bank.embeddings("t", dim=2, optimizer=carls.Momentum(lr=0.25), initializer="zeros")

    def test_rates_that_cannot_be_change_nothing(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0))
        for lr in (-0.1, float("nan"), float("inf"), "fast", None, True):
            with pytest.raises(carls.InvalidSpecError, match="lr="):
                table.set_learning_rate(lr)  # type: ignore[arg-type]
        with pytest.raises(carls.InvalidRequestError, match="step"):
            table.set_learning_rate(0.5, step=-2)
        assert table.describe().learning_rates == ()
        plain = bank.embeddings("plain", dim=2)
        with pytest.raises(carls.InvalidRequestError, match="optimizer"):
            plain.set_learning_rate(0.5)
