"""Drops reach the bank that they were meant for, or none."""

from __future__ import annotations

import pytest

import carls
from carls.testing import Fault, connect_with_faults


def test_a_drop_of_unknown_outcome_is_never_repeated_to_another_bank() -> None:
    with connect_with_faults(None, [Fault.LOSE_REQUEST, Fault.RESTART]) as bank:
        bank.embeddings("t", dim=1)
        other = bank.embeddings("other", dim=1)
        with pytest.raises(carls.OutcomeUnknownError):
            bank.drop("t")
        with pytest.raises(carls.BankRestartedError):
            other.assign([1], [[1.0]])
        filled = bank.embeddings("t", dim=1)
        filled.assign([1, 2, 3], [[1.0], [2.0], [3.0]])
        with pytest.raises(carls.BankRestartedError, match="nothing was dropped"):
            bank.flush()
        assert filled.lookup([1, 2, 3]).values.tolist() == [[1.0], [2.0], [3.0]]
        bank.drop("t")
        assert [table.name for table in bank.tables()] == ["other"]


def test_a_drop_after_others_learnt_of_a_restart_says_so_once() -> None:
    with connect_with_faults(None, [Fault.NONE, Fault.RESTART]) as bank:
        bank.embeddings("t", dim=1)
        other = bank.embeddings("other", dim=1)
        bank.drop("t")
        with pytest.raises(carls.BankRestartedError):
            other.assign([1], [[1.0]])
        bank.embeddings("t", dim=1)
        with pytest.raises(carls.BankRestartedError):
            bank.drop("t")
        bank.drop("t")
        assert [table.name for table in bank.tables()] == ["other"]
