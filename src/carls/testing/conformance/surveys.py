"""How old rows are and how much they are asked for, without their values."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from carls.client import Bank


class Surveys:
    """How old rows are and how much they are asked for, without their values."""

    def test_a_survey_tells_what_a_look_up_tells(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        table.assign([1, 2], np.ones((2, 2), np.float32), step=4)
        table.assign([2], np.ones((1, 2), np.float32), step=6)
        keys = [2, 9, 1, 2]
        told, rows = table.survey(keys), table.lookup(keys, create=False)
        assert told.found.tolist() == [True, False, True, True]
        for name in ("found", "step", "version", "count", "producer"):
            assert list(getattr(told, name)) == list(getattr(rows, name))
        assert (told.age[told.found] <= rows.age[rows.found]).all()
        assert table.survey_async(keys).result(30).step.tolist() == told.step.tolist()

    def test_a_survey_makes_no_rows_and_counts_as_no_look_up(self, bank: Bank) -> None:
        table, facts = bank.embeddings("t", dim=2), bank.features("f", {"label": "int32"})
        for one in (table, facts):
            one.survey([1, 2])
            assert len(one) == 0
            assert one.statistics().counters.lookups == 0

    @pytest.mark.parametrize("keys", [[1, 2, 3], ["a", "b", "c"]])
    def test_look_ups_make_demand_from_the_first_survey_on(self, bank: Bank, keys: list[int | str]) -> None:
        table, facts = bank.embeddings("t", dim=2), bank.features("f", {"label": "int32"})
        facts.assign(keys, {"label": [1, 2, 3]})
        for one in (table, facts):
            one.lookup(keys)
            assert one.survey(keys).demand.tolist() == [0, 0, 0]
            one.lookup([keys[0], keys[0], keys[2]])
            assert one.survey(keys).demand.tolist() == [2, 0, 1]
        table.lookup([keys[1]], create=False)
        list(table.scan())
        assert table.survey(keys).demand.tolist() == [2, 1, 1]

    def test_a_survey_of_many_rows(self, bank: Bank) -> None:
        facts = bank.features("f", {"near": "list<int64>"})
        keys = np.arange(3000)
        facts.assign(keys, {"near": [[1] * 50] * 3000}, step=1)
        facts.assign(keys[::2], {"near": [[1]] * 1500}, step=2)
        told = facts.survey(keys)
        assert told.step.tolist() == [2, 1] * 1500

    def test_a_survey_by_keys_of_another_type(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, keys="int64")
        with pytest.raises(carls.InvalidKeyError, match="int64"):
            table.survey(["a"])
