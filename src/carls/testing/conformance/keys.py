"""Keys of all types, and keys that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class KeyTypes:
    """Keys of all types, and keys that cannot be."""

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
