"""What is refused changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class BadInput:
    """What is refused changes nothing."""

    @pytest.mark.parametrize(
        "values",
        [
            np.ones((2, 3), np.float32),
            np.ones((1, 2), np.float32),
            np.ones(2, np.float32),
            np.ones((2, 2), np.float64),
            np.ones((2, 2), np.int32),
            np.array([[1, np.nan], [1, 1]], np.float32),
            np.array([[1, 1], [np.inf, 1]], np.float32),
            [["x", "y"], ["x", "y"]],
        ],
        ids=["wide", "short", "flat", "float64", "int32", "nan", "inf", "text"],
    )
    def test_bad_values_change_nothing(self, bank: Bank, values: Any) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD())
        table.assign([1], [[1.0, 2.0]], step=3)
        for write in (table.assign, table.push_gradients):
            with pytest.raises(carls.InvalidValueError):
                write([1, 2], values)
        rows = table.lookup([1, 2], create=False)
        assert rows.found.tolist() == [True, False]
        assert rows.values[0].tolist() == [1.0, 2.0]
        assert rows.version[0] == 1

    def test_messages_carry_the_offending_value(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD())
        with pytest.raises(carls.InvalidValueError, match=r"\(1, 3\).*\(1, 2\)"):
            table.assign([1], np.ones((1, 3), np.float32))
        with pytest.raises(carls.InvalidValueError, match="nan at row 1, element 0"):
            table.push_gradients([1, 2], np.array([[0, 0], [np.nan, 0]], np.float32))
        with pytest.raises(carls.InvalidValueError, match="row 0, element 1: expected"):
            table.push_gradients([1], np.array([[0, 1e20]], np.float32))  # its square is infinite
        with pytest.raises(carls.InvalidRequestError, match="optimizer"):
            bank.embeddings("plain", dim=2).push_gradients([1], [[1.0, 1.0]])

    @pytest.mark.parametrize(
        "bound", [{"max_age_steps": 5}, {"at_step": 3, "max_age_steps": -1}, {"max_age_s": -1.0}], ids=str
    )
    def test_bounds_that_cannot_be(self, bank: Bank, bound: dict[str, Any]) -> None:
        with pytest.raises(carls.InvalidRequestError):
            bank.embeddings("t", dim=1).lookup([1], **bound)

    def test_numpy_numbers_are_numbers(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD())
        table.assign(np.array([1, 2], np.int32), np.ones((2, 2), np.float32), step=np.int64(5))
        table.push_gradients([1], [[1.0, 1.0]], step=np.int32(6))
        rows = table.lookup([1, 2], at_step=np.int64(6), max_age_steps=np.int16(0), max_age_s=np.float32(60))
        assert rows.fresh.tolist() == [True, False]
        no: Any = np.bool_(False)
        assert table.lookup([9], create=no).found.tolist() == [False]
        assert sum(len(keys) for keys, _ in table.scan(batch=np.int64(1))) == 2
        bank.models.publish("m", {"w": np.ones(1)}, step=np.int64(3), keep=np.int64(1))
        assert bank.models.latest("m", newer_than=np.int64(2)) is not None

    @pytest.mark.parametrize("step", [5.0, "5", None, 2**63, -2, True, [1]], ids=str)
    def test_steps_that_cannot_be(self, bank: Bank, step: Any) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.SGD())
        uses: list[Callable[[], Any]] = [
            lambda: table.assign([1], [[1.0]], step=step),
            lambda: table.push_gradients([1], [[1.0]], step=step),
            lambda: bank.models.publish("m", {"w": np.ones(1)}, step=step),
        ]
        if step is not None:
            uses.append(lambda: table.lookup([1], at_step=step, max_age_steps=1))
        for use in uses:
            with pytest.raises(carls.InvalidRequestError, match="step"):
                use()
        assert len(table) == 0
