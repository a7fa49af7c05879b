"""The conformance suite: what a user of any bank may rely on, one behaviour a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank
from carls.client.results import Ragged
from carls.testing.oracle import initial_value


class BankConformance:
    """Subclass it with a fixture `bank` that gives an empty bank; see `carls.testing`."""

    # --- tables ---

    def test_a_table_is_found_again_by_its_name(self, bank: Bank) -> None:
        bank.embeddings("t", dim=2).assign(["a"], [[1.0, 2.0]], step=7)
        again = bank.embeddings("t", dim=2)
        assert again.lookup(["a"]).values.tolist() == [[1.0, 2.0]]
        assert again.spec.keys == "string"
        assert [table.name for table in bank.tables()] == ["t"]
        assert bank.describe("t").rows == len(again) == 1
        assert bank.describe("t").nbytes > 0

    def test_another_spec_is_an_error_that_names_both(self, bank: Bank) -> None:
        bank.embeddings("t", dim=2)
        with pytest.raises(carls.SpecMismatchError) as caught:
            bank.embeddings("t", dim=3)
        assert "'dim': 2" in str(caught.value)
        assert "'dim': 3" in str(caught.value)
        with pytest.raises(carls.SpecMismatchError):
            bank.features("t", {"label": "int32"})
        assert caught.value.details["existing"]["dim"] == 2

    def test_a_dropped_table_is_gone(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        table.lookup([1])
        bank.drop("t")
        with pytest.raises(carls.UnknownTableError, match="'t'"):
            table.lookup([1])
        with pytest.raises(carls.UnknownTableError):
            bank.drop("t")
        assert len(bank.embeddings("t", dim=2)) == 0

    @pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 129, "a b", None])
    def test_names_that_cannot_be(self, bank: Bank, name: Any) -> None:
        with pytest.raises(carls.InvalidSpecError):
            bank.embeddings(name, dim=2)
        assert bank.tables() == []

    # --- rows ---

    def test_initial_values_follow_from_seed_and_key(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=5, seed=3, initializer=carls.Uniform(-1, 1))
        keys = ["a", "b", "", "ä"]
        expected = np.stack([initial_value(table.spec, key) for key in keys])
        np.testing.assert_array_equal(table.lookup(keys).values, expected)
        np.testing.assert_array_equal(table.lookup(keys[::-1]).values, expected[::-1])

    def test_created_found_fresh(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        first = table.lookup([1, 2])
        assert first.found.all()
        assert first.created.all()
        assert not first.fresh.any()
        assert first.version.tolist() == [0, 0]
        assert first.step.tolist() == [-1, -1]
        assert first.producer == ["", ""]
        second = table.lookup([2, 3])
        assert second.created.tolist() == [False, True]
        assert second.fresh.tolist() == [True, False]
        assert second.count.tolist() == [2, 1]

    def test_without_create_nothing_is_made(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, initializer=carls.Constant(4.0))
        table.lookup([1])
        rows = table.lookup([1, 2], create=False)
        assert rows.found.tolist() == [True, False]
        assert rows.values.tolist() == [[4.0, 4.0], [0.0, 0.0]]
        assert rows.fresh.tolist() == [True, False]
        assert not rows.created.any()
        assert len(table) == 1
        assert table.lookup([1], create=False).count.tolist() == [1]

    def test_rows_say_who_made_them_and_how_old_they_are(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.SGD(lr=1.0))
        table.assign(["a", "b"], [[1.0], [2.0]], step=1200)
        table.push_gradients(["b"], [[0.5]], step=1210)
        rows = table.lookup(["a", "b"], at_step=1260, max_age_steps=50)
        assert rows.fresh.tolist() == [False, True]
        assert rows.values.tolist() == [[1.0], [1.5]]
        assert rows.version.tolist() == [1, 2]
        assert rows.step.tolist() == [1200, 1210]
        assert rows.producer == [bank.producer] * 2
        assert (rows.age >= 0).all()
        assert (rows.age < 60).all()
        assert table.lookup(["a"], max_age_s=60.0).fresh.all()

    def test_duplicates_in_a_push_are_summed_first(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.Adagrad(lr=1.0), initializer=carls.Zeros())
        table.push_gradients([1, 2, 1], [[1.0], [1.0], [2.0]])
        rows = table.lookup([1, 2])
        np.testing.assert_allclose(rows.values, [[-1.0], [-1.0]], rtol=1e-6)
        assert rows.version.tolist() == [1, 1]

    def test_erased_rows_start_anew(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.Adagrad(lr=1.0), initializer=carls.Zeros())
        table.push_gradients(["a", "b"], [[1.0], [1.0]])
        assert table.erase(["a", "c"]).tolist() == [True, False]
        assert len(table) == 1
        rows = table.lookup(["a"])
        assert rows.created.all()
        assert rows.values.tolist() == [[0.0]]
        table.push_gradients(["a"], [[1.0]])
        np.testing.assert_allclose(table.lookup(["a"]).values, [[-1.0]], rtol=1e-6)

    def test_scan_gives_every_row_once(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        keys = [f"k{i}" for i in range(1000)]
        table.assign(keys, np.arange(1000, dtype=np.float32)[:, None], step=1)
        seen: dict[Any, float] = {}
        for part, rows in table.scan(batch=77):
            assert len(part) == len(rows) <= 77
            seen.update(zip(part.tolist(), rows.values[:, 0].tolist(), strict=True))
        assert seen == {key: float(i) for i, key in enumerate(keys)}
        assert list(bank.embeddings("empty", dim=1).scan()) == []

    # --- keys ---

    def test_key_types_never_meet(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.lookup(["5"])
        for keys in ([5], [b"5"], np.array([5])):
            with pytest.raises(carls.InvalidKeyError, match="string"):
                table.lookup(keys)
        assert len(table) == 1

    @pytest.mark.parametrize(
        "keys",
        [[], [1, "a"], [True], [1.5], [None], [2**63], [-(2**63) - 1], ["x" * 65537], "abc", ["\ud800"], 7],
        ids=lambda keys: repr(keys)[:20],
    )
    def test_keys_that_cannot_be(self, bank: Bank, keys: Any) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.SGD())
        with pytest.raises(carls.InvalidKeyError):
            table.lookup(keys)
        with pytest.raises(carls.InvalidKeyError):
            table.assign(keys, np.ones((1, 1), np.float32))
        assert len(table) == 0
        assert table.spec.keys is None

    def test_extreme_keys(self, bank: Bank) -> None:
        numbers = bank.embeddings("n", dim=1)
        numbers.assign([2**63 - 1, -(2**63), 0, -1], [[1.0], [2.0], [3.0], [4.0]])
        assert numbers.lookup([-1, 0, -(2**63), 2**63 - 1]).values[:, 0].tolist() == [4.0, 3.0, 2.0, 1.0]
        texts = bank.embeddings("s", dim=1)
        keys = ["", "x" * 65536, "ab", "a", "b", "\0", "漢"]
        texts.assign(keys, np.arange(7, dtype=np.float32)[:, None])
        assert texts.lookup(keys).values[:, 0].tolist() == list(range(7))

    # --- bad input ---

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

    # --- asynchrony ---

    def test_a_handle_reads_its_own_writes(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=4, optimizer=carls.SGD(lr=1.0), initializer=carls.Zeros())
        ones = np.ones((1, 4), np.float32)
        for i in range(1, 60):
            table.push_gradients_async([1], ones, step=i)
            assert table.lookup([1]).values[0, 0] == -i
            assert table.lookup_async([1]).result(10).values[0, 0] == -i

    def test_background_errors_reach_the_owner(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.SGD())
        future = table.push_gradients_async([1], np.full((1, 2), np.nan, np.float32))
        assert isinstance(future.exception(10), carls.InvalidValueError)
        with pytest.raises(carls.InvalidValueError, match="nan"):
            table.flush()
        table.push_gradients([1], [[1.0, 1.0]])
        table.flush()

    def test_futures_work_with_asyncio(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)

        async def use() -> Any:
            await asyncio.wrap_future(table.assign_async([1], [[1.0, 2.0]]))
            return await asyncio.wrap_future(table.lookup_async([1]))

        assert asyncio.run(use()).values.tolist() == [[1.0, 2.0]]

    def test_prefetched_rows_are_taken_once(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.prefetch(["a", "b"])
        assert table.lookup(["a", "b"]).created.all()
        assert table.lookup(["a", "b"]).count.tolist() == [2, 2]

    def test_closed_handles_say_so(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, optimizer=carls.SGD())
        table.push_gradients_async([1], [[1.0]])
        table.close()
        table.close()
        uses: list[Callable[[], Any]] = [
            lambda: table.lookup([1]),
            lambda: table.push_gradients([1], [[1.0]]),
            lambda: table.flush(),
        ]
        for use in uses:
            with pytest.raises(carls.ClosedError):
                use()
        assert bank.embeddings("t", dim=1, optimizer=carls.SGD()).lookup([1]).version.tolist() == [1]

    def test_large_batches(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=256)
        n = 40_000  # 40 MB: over the limit of one request
        values = np.arange(n, dtype=np.float32)[:, None] + np.zeros(256, np.float32)
        table.assign(np.arange(n), values)
        np.testing.assert_array_equal(table.lookup(np.arange(n)).values, values)
        values[-1, -1] = np.nan
        with pytest.raises(carls.InvalidValueError, match=f"row {n - 1}"):
            table.assign(np.arange(n), values)
        assert table.lookup([0]).version.tolist() == [1]
        assert table.erase(np.arange(n)).all()

    # --- features ---

    def test_features_of_all_types(self, bank: Bank) -> None:
        columns: dict[str, Any] = {
            "int32": [1, -2],
            "int64": [2**40, 3],
            "float32": [0.5, 1.5],
            "float64": [1e300, -1.0],
            "bool": [True, False],
            "string": ["", "ä"],
            "list<int32>": [[1, 2], []],
            "list<int64>": [[], [2**40]],
            "list<float32>": [[0.5], [1.5, 2.5]],
            "list<float64>": [[], []],
            "list<string>": [["a", "", "bc"], []],
        }
        names = {f"c{i}": kind for i, kind in enumerate(columns)}
        table = bank.features("f", names)
        table.assign(["x", "y"], {name: columns[kind] for name, kind in names.items()}, step=4)
        rows = table.lookup(["y", "nobody", "x"])
        assert rows.found.tolist() == [True, False, True]
        assert rows.step.tolist() == [4, -1, 4]
        for name, kind in names.items():
            empty: Any = [] if kind.startswith("list") else type(columns[kind][0])()
            got = list(rows[name]) if kind.startswith("list") else rows[name].tolist()
            assert got == [columns[kind][1], empty, columns[kind][0]], kind
        with pytest.raises(KeyError):
            rows["other"]

    def test_features_are_replaced_whole(self, bank: Bank) -> None:
        table = bank.features("f", {"n": "list<string>", "w": "list<float32>"})
        for length in (5, 1, 200, 0, 7):
            names, weights = [f"n{i}" for i in range(length)], [float(i) for i in range(length)]
            table.assign([1], {"n": [names], "w": [weights]})
            rows = table.lookup([1])
            assert rows["n"][0] == names
            assert rows["w"][0] == weights
        assert rows.version.tolist() == [5]
        assert table.erase([1]).tolist() == [True]
        assert list(table.scan()) == []

    def test_neighbours_go_straight_back_as_keys(self, bank: Bank) -> None:
        graph = bank.features("graph", {"neighbours": "list<string>"})
        vertices = bank.embeddings("vertices", dim=1)
        vertices.assign(["a", "b", "c"], [[1.0], [2.0], [3.0]])
        graph.assign(["a"], {"neighbours": [["c", "b"]]})
        neighbours = graph.lookup(["a"])["neighbours"]
        assert vertices.lookup(neighbours.values).values[:, 0].tolist() == [3.0, 2.0]

    @pytest.mark.parametrize(
        "columns",
        [
            {},
            {"label": [1]},
            {"label": [1], "weight": [0.5], "more": [1]},
            {"label": [1, 2], "weight": [0.5]},
            {"label": [1.5], "weight": [0.5]},
            {"label": [2**31], "weight": [0.5]},
            {"label": ["x"], "weight": [0.5]},
            {"label": [None], "weight": [0.5]},
            {"label": [1], "weight": [float("nan")]},
            {"label": [1, 2], "weight": [0.5, 0.5]},
        ],
        ids=str,
    )
    def test_bad_columns_change_nothing(self, bank: Bank, columns: dict[str, Any]) -> None:
        table = bank.features("f", {"label": "int32", "weight": "float32"})
        with pytest.raises(carls.InvalidValueError):
            table.assign(["a"], columns)
        assert len(table) == 0

    @pytest.mark.parametrize(
        "columns",
        [
            None,
            7,
            "label",
            [("label", [1])],
            {1: [1], "text": ["x"], "flag": [True], "names": [["a"]]},
            {"label": ["1"]},
            {"label": [True]},
            {"label": "1"},
            {"label": {1: 2}},
            {"text": [1]},
            {"text": [b"x"]},
            {"text": "x"},
            {"text": np.array([1.5])},
            {"flag": [1]},
            {"flag": ["true"]},
            {"names": [[1]]},
            {"names": ["a"]},
            {"names": Ragged(np.array([0, 2, 1]), carls.Keys.of(["a", "b"]))},
            {"names": Ragged(np.array([0, 3]), carls.Keys.of(["a", "b"]))},
            {"names": Ragged(np.array([-1, 1]), carls.Keys.of(["a", "b"]))},
            {"names": Ragged(np.array([0, 2**40]), carls.Keys.of(["a", "b"]))},
            {"names": Ragged(np.array([0.0, 1.0]), carls.Keys.of(["a", "b"]))},
            {"names": Ragged(np.array([0, 1]), np.array([4]))},
            {"label": Ragged(np.array([0, 1]), np.array([4]))},
        ],
        ids=lambda columns: repr(columns)[:60],
    )
    def test_columns_are_never_converted_silently(self, bank: Bank, columns: Any) -> None:
        kinds = {"label": "int32", "text": "string", "flag": "bool", "names": "list<string>"}
        table = bank.features("f", kinds)
        good = {"label": [1], "text": ["x"], "flag": [True], "names": [["a"]]}
        if isinstance(columns, dict) and "label" not in columns and 1 in columns:
            given: Any = columns
        else:
            given = good | columns if isinstance(columns, dict) else columns
        with pytest.raises(carls.InvalidValueError):
            table.assign([1], given)
        assert len(table) == 0
        table.assign([1], good)
        assert table.lookup([1])["names"][0] == ["a"]

    def test_columns_that_keep_what_they_are(self, bank: Bank) -> None:
        table = bank.features("f", {"x": "float32", "flag": "bool", "w": "list<float64>", "n": "list<int64>"})
        given = {
            "x": [1, 2],
            "flag": np.array([True, False]),
            "w": [[1], []],
            "n": Ragged(np.array([1, 1, 3], np.uint32), np.array([9, 8, 7], np.int16)),
        }
        table.assign(np.array([1, 2]), given, step=np.int64(3))
        rows = table.lookup([1, 2])
        assert rows["x"].tolist() == [1.0, 2.0]
        assert rows["flag"].tolist() == [True, False]
        assert list(rows["w"]) == [[1.0], []]
        assert list(rows["n"]) == [[], [8, 7]]
        assert rows.step.tolist() == [3, 3]

    def test_long_lists(self, bank: Bank) -> None:
        """Uneven rows of 90 MB in all: writes, look-ups and pages are split by what each row holds."""
        table = bank.features("f", {"n": "list<int32>", "s": "list<string>"})
        lengths = [0, 3_500_000, 1, 2_500_000, 3_800_000, 5, 3_000_000, 3_700_000, 3_900_000, 2_000_000]
        lengths += [3] * 100
        keys = [f"k{i}" for i in range(len(lengths))]
        numbers = [np.full(length, i, np.int32) for i, length in enumerate(lengths)]
        table.assign(keys, {"n": numbers, "s": [[key] for key in keys]})
        rows = table.lookup(keys)
        assert rows.found.all()
        assert rows["n"].lengths.tolist() == lengths
        assert rows["n"].values.tolist()[::100_000] == np.concatenate(numbers)[::100_000].tolist()
        assert list(rows["s"]) == [[key] for key in keys]
        seen: dict[Any, int] = {}
        for part, page in table.scan(batch=1000):
            seen.update(zip(part.tolist(), page["n"].lengths.tolist(), strict=True))
        assert seen == dict(zip(keys, lengths, strict=True))

    def test_a_row_that_is_too_large_is_refused_before_anything_is_sent(self, bank: Bank) -> None:
        table = bank.features("f", {"n": "list<int32>"})
        rows = [np.zeros(3_000_000, np.int32)] * 3 + [np.zeros(4 << 20, np.int32)]
        with pytest.raises(carls.InvalidValueError, match=r"row 3 .* 16777220 bytes"):
            table.assign([1, 2, 3, 4], {"n": rows})
        assert len(table) == 0

    @pytest.mark.parametrize("batch", ["x", 2.5, None, 0, -1, True], ids=str)
    def test_pages_of_features_that_cannot_be(self, bank: Bank, batch: Any) -> None:
        table = bank.features("f", {"label": "int32"})
        table.assign([1, 2], {"label": [1, 2]})
        with pytest.raises(carls.InvalidRequestError, match="batch"):
            list(table.scan(batch=batch))
        assert sum(len(keys) for keys, _ in table.scan(batch=np.int64(1))) == 2
        assert sum(len(keys) for keys, _ in table.scan(batch=10**9)) == 2

    # --- models ---

    def test_models_are_published_whole(self, bank: Bank) -> None:
        assert bank.models.latest("encoder") is None
        tensors = {
            "w": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "n": np.int64(4),
            "e": np.zeros((0, 3)),
        }
        bank.models.publish("encoder", tensors, step=10)
        model = bank.models.latest("encoder")
        assert model is not None
        assert (model.version, model.step, model.producer) == (1, 10, bank.producer)
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(model.tensors[name], tensor)
            assert model.tensors[name].dtype == np.asarray(tensor).dtype
        assert bank.models.latest("encoder", newer_than=10) is None
        assert bank.models.latest("encoder", newer_than=9) is not None
        assert [info.name for info in bank.models.list()] == ["encoder"]

    def test_large_models_travel_in_parts(self, bank: Bank) -> None:
        tensors = {"w": np.random.default_rng(0).standard_normal((5000, 1000)).astype(np.float32)}  # 20 MB
        bank.models.publish("large", tensors, step=1, keep=1)
        bank.models.publish("large", {"w": tensors["w"] + 1}, step=2, keep=1)
        model = bank.models.latest("large")
        assert model is not None
        assert model.version == 2
        np.testing.assert_array_equal(model.tensors["w"], tensors["w"] + 1)

    def test_waiting_for_a_model_ends(self, bank: Bank) -> None:
        assert bank.models.latest("m", wait_s=0.05) is None
        bank.models.publish("m", {"w": np.ones(1)}, step=1)
        assert bank.models.latest("m", newer_than=1, wait_s=0.05) is None

    @pytest.mark.parametrize(
        ("tensors", "step", "keep"),
        [
            ({}, 1, 1),
            ({"w": "text"}, 1, 1),
            ({"w": np.ones(1)}, -1, 1),
            ({"w": np.ones(1)}, 1, 0),
            ([], 1, 1),
        ],
        ids=str,
    )
    def test_models_that_cannot_be(self, bank: Bank, tensors: Any, step: int, keep: int) -> None:
        with pytest.raises(carls.InvalidRequestError):
            bank.models.publish("m", tensors, step=step, keep=keep)
        assert bank.models.latest("m") is None
