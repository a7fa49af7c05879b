"""Searches for the rows that are nearest to queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import carls
from carls.client import Bank
from carls.specs import METRICS
from carls.testing.oracle import nearest_rows

_KEYS: dict[str, Any] = {
    "int64": lambda i: 7919 * i - 40_000,
    "string": lambda i: f"item {i}",
    "bytes": lambda i: b"\x00\xff" * (i % 3) + bytes([i % 256, i // 256]),
}

#: Arguments that cannot be, and what their error says.
_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"queries": [[1.0]]}, r"shape \(1, 1\).*\(1, 2\)"),
    ({"queries": [1.0, 2.0]}, r"shape \(2,\)"),
    ({"queries": np.empty((0, 2), np.float32)}, "at least one query"),
    ({"queries": [[1.0, np.nan]]}, "nan at row 0, element 1"),
    ({"queries": [[1.0, np.inf]]}, "inf"),
    ({"queries": [["a", "b"]]}, "numbers"),
    ({"k": 0}, "k=0"),
    ({"k": True}, "k=True"),
    ({"k": 2**30}, "at most 16777216 rows"),
    ({"metric": "l1"}, "metric='l1'.*squared_l2"),
    ({"index": "fast"}, "index='fast'"),
    ({"exclude": [[1], [2]]}, "2 lists for 1 queries"),
    ({"exclude": [1, 2]}, "key 1 has type int64"),
    ({"where": ("f", "kind", 1)}, r"carls\.Where"),
    ({"where": carls.Where("f", "nothing", equals=1)}, r"no column 'nothing'.*'kind'"),
    ({"where": carls.Where("f", "weight", equals=1)}, "type float32"),
    ({"where": carls.Where("f", "kind", equals="1")}, "expected a int32"),
    ({"where": carls.Where("f", "kind", equals=2**40)}, "expected a int32"),
    ({"where": carls.Where("f", "kind", equals=True)}, "expected a int32"),
]


def _values(rows: int, dim: int = 5) -> npt.NDArray[np.float32]:
    """Small whole numbers, so that every sum is exact and many scores are equal; row 0 is zero."""
    values = np.random.default_rng(rows).integers(-3, 4, (rows, dim)).astype(np.float32)
    values[0] = 0
    return values


class Search:
    """Searches for the rows that are nearest to queries."""

    @pytest.mark.parametrize("keys", list(_KEYS))
    def test_the_nearest_rows_are_those_of_an_oracle(self, bank: Bank, keys: str) -> None:
        table, values = bank.embeddings("t", dim=5), _values(300)
        names = [_KEYS[keys](i) for i in range(300)]
        table.assign(names, values)
        queries = np.vstack([values[:3], _values(12)[-9:]])
        for metric in METRICS:
            found = table.nearest(queries, k=20, metric=metric)
            assert found.scores.shape == (12, 20)
            assert found.scores.dtype == np.float32
            assert found.counts.tolist() == [20] * 12
            assert len(found.keys) == 240
            for query, (mine, scores) in zip(queries, found, strict=True):
                ranked = nearest_rows(names, values, query, 300, metric)
                np.testing.assert_allclose(scores, [score for _, score in ranked[:20]], atol=1e-6)
                if metric == "cosine":
                    # Rounding decides between equal angles.
                    np.testing.assert_allclose(scores, [dict(ranked)[key] for key in mine], atol=1e-6)
                    assert len(set(mine)) == 20
                else:
                    assert mine.tolist() == [key for key, _ in ranked[:20]]

    def test_float16_rows_are_scored_in_float32(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, dtype="float16")
        table.assign([1, 2, 3], [[60000, 60000], [0.1, 0], [-1, 0]])
        found = table.nearest([[60000, 60000]], k=3)
        assert found.keys.tolist() == [1, 2, 3]
        assert found.scores.tolist() == [[7.2e9, np.float32(np.float16(0.1)) * np.float32(60000), -60000]]

    def test_fewer_rows_than_k_are_told(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        empty = table.nearest([[1.0], [2.0]], k=3)
        assert (len(empty.keys), empty.counts.tolist(), empty.scores.shape) == (0, [0, 0], (2, 3))
        table.assign(["a", "b"], [[1], [2]])
        found = table.nearest([[1.0], [-1.0]], k=3)
        assert found.keys.tolist() == ["b", "a", "a", "b"]
        assert found.counts.tolist() == [2, 2]
        assert found.scores.tolist() == [[2, 1, -np.inf], [-1, -2, -np.inf]]
        assert table.nearest([[1.0]], k=3, metric="squared_l2").scores.tolist() == [[0, 1, np.inf]]
        assert [keys.tolist() for keys, _ in found] == [["b", "a"], ["a", "b"]]

    def test_rows_of_equal_score_come_by_key(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        keys = [30, -4, 7, 12, -90, 55, 8]
        table.assign(keys, np.ones((7, 1), np.float32))
        assert table.nearest([[1.0]], k=4).keys.tolist() == [-90, -4, 7, 8]

    def test_the_cosine_with_a_zero_vector_is_zero(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        table.assign(["zero", "along", "against"], [[0, 0], [1e-20, 0], [-1e20, 0]])
        found = table.nearest([[5.0, 0], [0, 0]], k=3, metric="cosine")
        assert found[0][0].tolist() == ["along", "zero", "against"]
        assert found.scores.tolist() == [[1, 0, -1], [0, 0, 0]]

    def test_excluded_keys_do_not_come(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign(["a", "b", "c", "d"], [[4], [3], [2], [1]])
        assert table.nearest([[1.0], [2.0]], k=2, exclude=["a", "x"]).keys.tolist() == ["b", "c"] * 2
        lists = table.nearest([[1.0], [2.0], [3.0]], k=2, exclude=[["a", "c"], [], ["b"]])
        assert [keys.tolist() for keys, _ in lists] == [["b", "d"], ["a", "b"], ["a", "c"]]
        assert table.nearest([[1.0]], k=9, exclude=["a", "b", "c", "d"]).counts.tolist() == [0]
        assert table.nearest([[1.0]], k=1, exclude=[]).keys.tolist() == ["a"]
        for mixed in ([["a"], 5], [["a"], None], [["a"], "b"]):
            with pytest.raises(carls.InvalidRequestError, match="a list for each"):
                table.nearest([[1.0], [2.0]], exclude=mixed)

    def test_a_filter_on_features_is_evaluated_in_the_bank(self, bank: Bank) -> None:
        table, features = (
            bank.embeddings("t", dim=1),
            bank.features("f", {"kind": "int32", "lang": "string", "ok": "bool"}),
        )
        table.assign(["a", "b", "c", "d"], [[4], [3], [2], [1]])
        features.assign(
            ["a", "b", "c", "x"],
            {"kind": [1, 2, -3, 1], "lang": ["de", "", "é", "de"], "ok": [True, False, True, True]},
        )

        def found(**said: Any) -> Any:
            ((column, value),) = said.items()
            some = {"isin": value} if isinstance(value, list) else {"equals": value}
            return table.nearest([[1.0]], k=4, where=carls.Where("f", column, **some)).keys.tolist()

        assert found(kind=1) == ["a"]
        assert found(kind=[2, -3, 99]) == ["b", "c"]
        assert found(lang="é") == ["c"]
        assert found(lang=["", "de"]) == ["a", "b"]
        assert found(ok=True) == ["a", "c"]
        assert found(ok=False) == ["b"]
        assert found(kind=[]) == []
        features.assign(["d"], {"kind": [2], "lang": ["x"], "ok": [True]})
        features.erase(["b"])
        assert found(kind=2) == ["d"]
        both = table.nearest([[1.0]], k=4, exclude=["a"], where=carls.Where("f", "ok", equals=True))
        assert both.keys.tolist() == ["c", "d"]

    def test_a_search_sees_this_handles_writes(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        for step in range(20):
            table.assign_async([step], [[float(step)]])
            assert table.nearest([[1.0]], k=1).keys.tolist() == [step]
        table.erase([19])
        assert table.nearest_async([[1.0]], k=2).result(30).keys.tolist() == [18, 17]

    def test_searches_are_counted_and_change_nothing(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign(["a"], [[1]])
        table.nearest([[1.0], [2.0]], k=1)
        counters = table.statistics().counters
        assert (counters.searches, counters.queries, counters.lookups) == (1, 2, 0)
        assert len(table) == 1
        assert table.lookup(["a"], create=False).count.tolist() == [0]

    def test_what_cannot_be_searched_is_refused(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, keys="string")
        table.assign(["a"], [[1, 2]])
        bank.features("f", {"kind": "int32", "weight": "float32"}, keys="string")
        for said, expected in _REFUSED:
            with pytest.raises(carls.InvalidRequestError, match=expected):
                table.nearest(**{"queries": [[1.0, 2.0]], **said})
        assert table.nearest([[1.0, 2.0]]).keys.tolist() == ["a"]

    def test_a_filter_needs_a_feature_table_with_such_keys(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign(["a"], [[1]])
        with pytest.raises(carls.UnknownTableError, match="'f'"):
            table.nearest([[1.0]], where=carls.Where("f", "kind", equals=1))
        features = bank.features("f", {"kind": "int32"})
        assert table.nearest([[1.0]], where=carls.Where("f", "kind", equals=1)).counts.tolist() == [0]
        features.assign([5], {"kind": [1]})
        with pytest.raises(carls.SpecMismatchError, match="keys of type int64"):
            table.nearest([[1.0]], where=carls.Where("f", "kind", equals=1))
        with pytest.raises(carls.SpecMismatchError, match="another kind"):
            table.nearest([[1.0]], where=carls.Where("t", "kind", equals=1))

    def test_an_index_is_a_choice_of_the_table(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        assert table.statistics().index is None
        table.set_index("ivf")
        table.set_index(carls.IVF(metric="cosine", probes=4))
        table.assign(["a", "b"], [[1, 0], [0, 1]])
        for metric in METRICS:
            assert table.nearest([[2.0, 0]], k=1, metric=metric).keys.tolist() == ["a"]
        index = table.statistics().index
        assert index is not None
        assert carls.IVF.of(index.policy) == carls.IVF(metric="cosine", probes=4)
        assert (index.rows, index.changed, index.builds, index.age, index.failure) == (0, 2, 0, None, "")
        table.set_index(None)
        assert bank.status().tables[0].index is None

    @pytest.mark.parametrize(
        "index", ["hnsw", {"name": "ivf", "probes": 0}, {"name": "ivf", "metric": "l1"}, 5]
    )
    def test_an_index_that_cannot_be_is_refused(self, bank: Bank, index: Any) -> None:
        table = bank.embeddings("t", dim=2)
        with pytest.raises(carls.InvalidRequestError, match=r"ivf|IVF"):
            table.set_index(index)
        assert table.statistics().index is None
