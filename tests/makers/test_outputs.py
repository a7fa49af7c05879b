"""Outputs: a maker writes to tables as they are, whatever their specs."""

from __future__ import annotations

import numpy as np
import pytest

import carls
from carls.makers import Write
from carls.makers.outputs import Outputs

ROWS = np.ones((2, 3), np.float32)


def test_tables_with_limits_and_aggregation_are_opened_as_they_are():
    with carls.connect() as bank:
        limited = bank.embeddings("limited", dim=3, max_rows=10)
        lazy = bank.embeddings("lazy", dim=3, optimizer=carls.SGD(lr=0.1), aggregate="lazy")
        outputs, seen = Outputs(bank), []
        for table in (limited, lazy):
            assert outputs.write(Write(table.name, [1, 2], ROWS), step=4, before=seen.append) == 2
            np.testing.assert_array_equal(table.lookup([1, 2], create=False).values, ROWS)
        assert [table.spec for table in seen] == [limited.spec, lazy.spec]


def test_tables_of_other_kinds_are_refused():
    with carls.connect() as bank:
        bank.tasks("tasks", dim=3)
        with pytest.raises(carls.SpecMismatchError, match="makers write to embedding and feature tables"):
            Outputs(bank).table("tasks")
        with pytest.raises(carls.UnknownTableError):
            Outputs(bank).table("nothing")
