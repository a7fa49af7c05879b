"""Opening, finding and dropping tables."""

from __future__ import annotations

from typing import Any

import pytest

import carls
from carls.client import Bank


class Tables:
    """Opening, finding and dropping tables."""

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

    def test_a_spec_that_is_refused_fixes_no_key_type(self, bank: Bank) -> None:
        bank.embeddings("t", dim=2)
        with pytest.raises(carls.SpecMismatchError):
            bank.embeddings("t", dim=3, keys="int64")
        assert bank.embeddings("t", dim=2, keys="string").spec.keys == "string"

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
