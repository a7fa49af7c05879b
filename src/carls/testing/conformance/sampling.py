"""Candidates drawn inside the bank."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class Sampling:
    """Candidates drawn inside the bank."""

    def test_samples_have_positives_first_and_rows_behind(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=3, initializer=carls.Uniform())
        keys = ["a", "b", "c", "d", "é", ""]
        rows = dict(zip(keys, table.lookup(keys).values, strict=True))
        positives = [["a"], ["b", "c"], [], ["d", "new"]]
        samples = table.sample(5, positives=positives, exclude=["", "unknown"])
        assert table.sample(5, positives=positives, exclude=[]).shape == samples.shape
        assert samples.shape == (len(samples), 5) == (4, 5)
        assert samples.values.shape == (4, 5, 3)
        assert samples.values.dtype == np.float32
        drawn = np.array(samples.keys.tolist(), object).reshape(4, 5)
        for context, row in enumerate(positives):
            known = len(row)
            assert drawn[context, :known].tolist() == row
            assert not set(drawn[context, known:]) & {*row, ""}
            assert samples.is_positive[context].tolist() == [True] * known + [False] * (5 - known)
        assert samples.found.sum() == 19
        assert not samples.found[3, 1]
        expected = [[rows.get(key, np.zeros(3)) for key in row] for row in drawn]
        np.testing.assert_array_equal(samples.values, expected)
        np.testing.assert_allclose(samples.expected_count[0], [0.8, 1, 1, 1, 1], rtol=1e-6)

    def test_positives_may_be_drawn_as_hits(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(["a", "b", "c"])
        samples = table.sample(4, positives=[["a"], ["b"]], unique=True, hits=True)
        drawn = np.array(samples.keys.tolist(), object).reshape(2, 4)
        assert drawn[:, 0].tolist() == ["a", "b"]
        assert all(set(row) == {"a", "b", "c"} for row in drawn[:, 1:].tolist())
        np.testing.assert_array_equal(samples.expected_count, np.ones((2, 4)))
        assert samples.is_positive.tolist() == [[True, False, False, False]] * 2
        many = table.sample(61, positives=[["a"]], hits=True)
        np.testing.assert_allclose(many.expected_count, np.full((1, 61), 20.0), rtol=1e-6)

    def test_sampling_creates_and_counts_nothing(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup([1, 2, 3])
        table.sample(3, positives=[[1, 7]], unique=True)
        assert len(table) == 3
        assert table.lookup([1, 2, 3], create=False).count.tolist() == [1, 1, 1]

    @pytest.mark.parametrize("key_type", ["int64", "string", "bytes"])
    @pytest.mark.parametrize("unique", [False, True])
    def test_all_key_types(self, bank: Bank, key_type: str, unique: bool) -> None:
        make: dict[str, Any] = {"int64": int, "string": str, "bytes": lambda i: str(i).encode()}
        keys = [make[key_type](i) for i in range(20)]
        table = bank.embeddings("t", dim=1, dtype="float16")
        table.assign(keys, np.arange(20, dtype=np.float16)[:, None])
        samples = table.sample(8, unique=unique, positives=[[keys[3]]] * 4, exclude=keys[:2])
        numbers = np.array([int(key) for key in samples.keys.tolist()]).reshape(4, 8)
        np.testing.assert_array_equal(samples.values[:, :, 0], numbers)
        assert samples.values.dtype == np.float16
        assert (numbers[:, 0] == 3).all()
        assert not np.isin(numbers[:, 1:], [0, 1, 3]).any()
        if unique:
            assert all(len(set(row)) == 8 for row in numbers.tolist())

    def test_strategies_follow_the_counts(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign([10, 20, 30], np.ones((3, 1), np.float32))
        for keys in ([30], [30], [30], [30], [10]):
            table.lookup(keys)
        counts = {30: 4, 10: 1, 20: 0}
        power = sum(max(count, 1) ** 0.5 for count in counts.values())
        chances = {
            "uniform": dict.fromkeys(counts, 1 / 3),
            "log_uniform": dict(zip(counts, np.log([2, 3 / 2, 4 / 3]) / np.log(4), strict=True)),
            carls.Frequency(0.5): {key: max(count, 1) ** 0.5 / power for key, count in counts.items()},
        }
        for strategy, chance in chances.items():
            samples = table.sample(3000, strategy, seed=1, values=False)
            drawn = samples.keys.tolist()
            assert samples.values.shape == (1, 3000, 0)
            np.testing.assert_allclose(
                samples.expected_count[0], [3000 * chance[key] for key in drawn], rtol=1e-5
            )
            for key, count in Counter(drawn).items():
                assert abs(count - 3000 * chance[key]) < 6 * np.sqrt(3000 * chance[key])
        table.lookup([20] * 40)  # the weights are those of now
        assert table.sample(1, "log_uniform", positives=[[20]]).expected_count.tolist() == [[0.0]]
        expected = table.sample(2, "log_uniform", positives=[[20]]).expected_count[0, 0]
        assert expected == pytest.approx(np.log(2) / np.log(4), rel=1e-6)

    def test_strategies_by_object_name_and_json(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(list(range(50)))
        for same in (
            ["uniform", carls.UniformSampling(), {"name": "uniform"}],
            ["log_uniform", carls.LogUniform()],
            ["frequency", carls.Frequency(), {"name": "frequency", "alpha": 0.75}],
        ):
            drawn = [table.sample(20, strategy, seed=3).keys for strategy in same]
            assert all(keys == drawn[0] for keys in drawn)

    @pytest.mark.parametrize("unique", [False, True])
    def test_seeds_repeat(self, bank: Bank, unique: bool) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(list(range(100)))
        draws = [table.sample(10, unique=unique, seed=(7, step)).keys.tolist() for step in range(3)]
        again = [table.sample(10, unique=unique, seed=(7, step)).keys.tolist() for step in range(3)]
        assert draws == again
        assert len({tuple(keys) for keys in draws}) == 3
        assert table.sample(10, unique=unique, seed=7).keys.tolist() == draws[0]
        by_chance = [tuple(table.sample(10, unique=unique).keys.tolist()) for _ in range(3)]
        assert len(set(by_chance)) == 3

    def test_rows_that_went_are_never_drawn(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(list(range(2000)))
        table.sample(5)
        for start in range(0, 1990, 199):
            gone = np.arange(start, start + 199)
            table.erase(gone)
            samples = table.sample(500, values=False)
            assert not (np.array(samples.keys.tolist()) < start + 199).any()
        assert sorted(table.sample(10, unique=True).keys.tolist()) == list(range(1990, 2000))

    def test_a_handle_samples_its_own_writes(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        for i in range(1, 30):
            table.assign_async(["only"], np.full((1, 2), i, np.float32))
            np.testing.assert_array_equal(table.sample(3).values, np.full((1, 3, 2), i))
            np.testing.assert_array_equal(table.sample_async(3).result(10).values, np.full((1, 3, 2), i))

    def test_more_than_there_is(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        with pytest.raises(carls.InvalidRequestError, match="0 rows"):
            table.sample(1)
        with pytest.raises(carls.InvalidRequestError, match="0 rows"):
            table.sample(2, positives=[["not the type of keys to come"]])
        table.lookup([1, 2, 3, 4, 5])
        with pytest.raises(carls.CarlsError, match=r"4 unique negatives: .* has 3 rows") as error:
            table.sample(5, unique=True, positives=[[1]], exclude=[2])
        assert error.value.details == {"wanted": 4, "there": 3}
        assert len(table.sample(4, unique=True, positives=[[1]], exclude=[2]).keys) == 4
        with pytest.raises(carls.CarlsError, match=r"context 1 .* has 0 rows"):
            table.sample(6, positives=[[], [1, 2, 3, 4, 5]])
        assert table.sample(2, positives=[[8, 9]]).keys.tolist() == [8, 9]

    def test_a_table_without_rows(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, keys="int64")
        for unique in (False, True):
            with pytest.raises(carls.InvalidRequestError, match="0 rows"):
                table.sample(2, unique=unique, positives=[[1]])
            positives = table.sample(1, unique=unique, positives=[[1], [2]])
            assert positives.keys.tolist() == [1, 2]
            assert not positives.found.any()

    def test_samples_that_cannot_be(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(["a", "b"])
        bad: list[tuple[type[carls.CarlsError], str, dict[str, Any]]] = [
            (carls.InvalidRequestError, "n=0", {"n": 0}),
            (carls.InvalidRequestError, "n=True", {"n": True}),
            (carls.InvalidRequestError, "n=1.5", {"n": 1.5}),
            (carls.InvalidSpecError, "unknown strategy 'zipf'", {"strategy": "zipf"}),
            (carls.InvalidSpecError, "alpha=nan", {"strategy": {"name": "frequency", "alpha": float("nan")}}),
            (carls.InvalidSpecError, "alpha=-1", {"strategy": {"name": "frequency", "alpha": -1}}),
            (carls.InvalidSpecError, "alpha=11", {"strategy": {"name": "frequency", "alpha": 11}}),
            (
                carls.InvalidRequestError,
                "3 positives: expected at most n=2",
                {"positives": [["a", "b", "c"]]},
            ),
            (carls.InvalidRequestError, "for each context", {"positives": ["a", "b"]}),
            (carls.InvalidRequestError, "for each context", {"positives": "ab"}),
            (carls.InvalidRequestError, "for each context", {"positives": [5]}),
            (carls.InvalidRequestError, "no context", {"positives": []}),
            (carls.InvalidKeyError, "int64", {"positives": [[1]]}),
            (carls.InvalidKeyError, "one type", {"positives": [["a"]], "exclude": [1]}),
            (carls.InvalidKeyError, "int64", {"exclude": [1]}),
            (carls.InvalidRequestError, "unique=1", {"unique": 1}),
            (carls.InvalidRequestError, "values=None", {"values": None}),
            (carls.InvalidRequestError, "seed=-1", {"seed": -1}),
            (carls.InvalidRequestError, "seed='x'", {"seed": "x"}),
            (carls.InvalidRequestError, "pair", {"seed": (1, 2, 3)}),
            (carls.RequestTooLargeError, "values=False", {"n": 1 << 28}),
        ]
        for kind, message, arguments in bad:
            with pytest.raises(kind, match=message):
                table.sample(**({"n": 2} | arguments))
        assert len(table) == 2
        features = bank.features("f", {"x": "int32"})
        assert not hasattr(features, "sample")

    def test_positives_of_many_shapes(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(list(range(10)))
        for positives in (
            [[1, 2], [3, 4]],
            ((1, 2), (3, 4)),
            np.array([[1, 2], [3, 4]]),
            [np.array([1, 2]), carls.Keys.of([3, 4])],
        ):
            samples = table.sample(4, positives=positives)
            assert samples.keys.take([0, 1, 4, 5]).tolist() == [1, 2, 3, 4]
            assert samples.is_positive.sum() == 4

    def test_samples_of_narrow_handles(self, bank: Bank) -> None:
        bank.embeddings("t", dim=2).assign([1], [[1.5, 1 / 3]])
        narrow = bank.embeddings("t", dim=2, wire_dtype="float16")
        values = narrow.sample(2).values
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values[0, 1], np.array([1.5, 1 / 3], np.float16))
        assert narrow.sample(2, values=False).values.size == 0
