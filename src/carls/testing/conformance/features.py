"""Feature tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank
from carls.client.results import Ragged


class Features:
    """Feature tables."""

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
