"""Values in float16, in the table or on their way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank
from carls.testing.oracle import initial_value

_THIRDS = np.array([[1 / 3, -2 / 3], [1e-3, 1000.25]], np.float32)


class HalfPrecision:
    """Values in float16, in the table or on their way."""

    def test_float16_rows_are_rounded_float32_ones(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=3, dtype="float16", seed=5, initializer=carls.Uniform(-2, 2))
        first = table.lookup(["a", "b"]).values
        assert first.dtype == np.float16
        expected = [initial_value(table.spec, key).astype(np.float16) for key in ("a", "b")]
        np.testing.assert_array_equal(first, expected)
        values = np.array([[0.1, -65504, 1e-7]], np.float32)
        table.assign(["a"], values)
        table.assign(["c"], values.astype(np.float16))
        rows = table.lookup(["a", "c", "missing"], create=False)
        rounded = values[0].astype(np.float16)
        np.testing.assert_array_equal(rows.values, [rounded, rounded, np.zeros(3, np.float16)])
        scanned: dict[Any, Any] = {}
        for keys, part in table.scan():
            scanned.update(zip(keys.tolist(), part.values, strict=True))
        assert sorted(scanned) == ["a", "b", "c"]
        np.testing.assert_array_equal(scanned["c"], rounded)
        assert scanned["c"].dtype == np.float16

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    def test_gradients_are_summed_and_applied_in_float32(self, bank: Bank, dtype: Any) -> None:
        table = bank.embeddings("t", dim=2, dtype="float16", optimizer=carls.SGD(lr=0.1))
        table.assign([1], [[0.3, 8.0]])
        # In float16 the sum of the first two would be infinite, and the next ones would be lost in it.
        gradients = np.array([[60000, 1.5], [60000, 0.001], [-60000, 0.001], [-60000, 0.001]], dtype)
        table.push_gradients([1, 1, 1, 1], gradients)
        total = np.zeros(2, np.float32)
        for gradient in gradients.astype(np.float32):
            total = total + gradient
        expected = (np.array([0.3, 8.0], np.float16).astype(np.float32) - np.float32(0.1) * total).astype(
            np.float16
        )
        np.testing.assert_array_equal(table.lookup([1]).values, [expected])

    def test_optimizer_state_stays_float32(self, bank: Bank) -> None:
        """The squares are 1e-6 each, of which float16 has one digit."""
        table = bank.embeddings(
            "t", dim=3, dtype="float16", optimizer=carls.Adagrad(lr=1.0), initializer=carls.Zeros()
        )
        for _ in range(10):
            table.push_gradients([1], np.full((1, 3), 1e-3, np.float32))
        table.assign([1], np.zeros((1, 3), np.float32))
        table.push_gradients([1], np.full((1, 3), 1e-3, np.float32))
        np.testing.assert_allclose(table.lookup([1]).values, np.full((1, 3), -1 / np.sqrt(11)), rtol=1e-3)

    def test_steps_below_half_a_unit_in_the_last_place_vanish(self, bank: Bank) -> None:
        for dtype, expected in (("float16", 1.0), ("float32", 0.998)):
            table = bank.embeddings(dtype, dim=1, dtype=dtype, optimizer=carls.SGD(lr=1.0))
            table.assign([1], [[1.0]])
            for _ in range(10):
                table.push_gradients([1], [[0.0002]])
            assert table.lookup([1]).values[0, 0] == pytest.approx(expected, abs=1e-6)

    def test_a_result_beyond_float16_is_its_largest_number(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, dtype="float16", optimizer=carls.SGD(lr=1.0))
        table.assign([1], [[60000.0, 1.0]])
        table.push_gradients([1], [[-60000.0, 1e9]])
        assert table.lookup([1]).values.tolist() == [[65504.0, -65504.0]]

    @pytest.mark.parametrize("value", [65505.0, -7e4, np.inf, np.nan])
    def test_values_beyond_float16_change_nothing(self, bank: Bank, value: float) -> None:
        table = bank.embeddings("t", dim=2, dtype="float16")
        table.assign([1], [[1.0, 2.0]])
        with pytest.raises(carls.InvalidValueError, match=r"row 1, element 0: .* 65504"):
            table.assign([1, 2], [[3.0, 4.0], [value, 0.0]])
        rows = table.lookup([1, 2], create=False)
        assert rows.values.tolist() == [[1.0, 2.0], [0.0, 0.0]]
        assert rows.version.tolist() == [1, 0]

    def test_the_dtype_is_part_of_the_spec(self, bank: Bank) -> None:
        bank.embeddings("t", dim=2, dtype="float16")
        with pytest.raises(carls.SpecMismatchError, match="float16"):
            bank.embeddings("t", dim=2)
        assert bank.describe("t").spec["dtype"] == "float16"

    def test_a_handle_may_round_what_travels(self, bank: Bank) -> None:
        exact = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0))
        narrow = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0), wire_dtype="float16")
        exact.assign([1, 2], _THIRDS)
        rounded = _THIRDS.astype(np.float16).astype(np.float32)
        for _ in range(2):  # in turns, over the same connection
            seen = narrow.lookup([1, 2]).values
            assert seen.dtype == np.float32
            np.testing.assert_array_equal(seen, rounded)
            np.testing.assert_array_equal(exact.lookup([1, 2]).values, _THIRDS)
        narrow.assign([3, 4], _THIRDS)
        np.testing.assert_array_equal(exact.lookup([3, 4]).values, rounded)
        exact.assign([5, 6], np.zeros((2, 2), np.float32))
        narrow.push_gradients([5, 6], _THIRDS)
        np.testing.assert_array_equal(exact.lookup([5, 6]).values, -rounded)
        ahead = narrow.lookup_async([1, 2]).result(10)
        np.testing.assert_array_equal(ahead.values, rounded)
        narrow.prefetch([1, 2])
        np.testing.assert_array_equal(narrow.lookup([1, 2]).values, rounded)

    def test_what_cannot_travel_as_float16_is_refused(self, bank: Bank) -> None:
        exact = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0))
        narrow = bank.embeddings("t", dim=2, optimizer=carls.SGD(lr=1.0), wire_dtype="float16")
        exact.assign([1], [[1.0, 2.0]])
        for write in (narrow.assign, narrow.push_gradients):
            for value in (65505.0, np.inf, np.nan):
                with pytest.raises(carls.InvalidValueError, match=r"row 0, element 1: .* 65504"):
                    write([1], [[0.0, value]])
        assert exact.lookup([1]).version.tolist() == [1]
        exact.assign([1], [[1e6, -1e6]])  # fine in the table; it comes as what is nearest to it
        assert narrow.lookup([1]).values.tolist() == [[65504.0, -65504.0]]
        with pytest.raises(carls.InvalidSpecError, match="bfloat16"):
            bank.embeddings("t", dim=2, wire_dtype="bfloat16")

    def test_gradients_to_float16_rows_may_be_rounded_too(self, bank: Bank) -> None:
        options: dict[str, Any] = {"dim": 2, "dtype": "float16", "optimizer": carls.SGD(lr=1.0)}
        narrow = bank.embeddings("t", **options, wire_dtype="float16")
        narrow.assign([1], np.zeros((1, 2), np.float32))
        # 1 + 2**-11 is exact in float32 alone; the difference shows where 1 is taken away after.
        narrow.push_gradients([1, 1], np.array([[1 + 2**-11, 0], [-1, 0]], np.float32))
        assert narrow.lookup([1]).values.tolist() == [[0.0, 0.0]]
        wide = bank.embeddings("t", **options)
        wide.push_gradients([1, 1], np.array([[1 + 2**-11, 0], [-1, 0]], np.float32))
        assert wide.lookup([1]).values.tolist() == [[-(2**-11), 0.0]]
