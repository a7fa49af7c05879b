"""Shares of work that several divide among them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class Leases:
    """Shares of work that several divide among them."""

    def test_shares_are_divided_among_those_who_take_part(self, bank: Bank) -> None:
        with bank.lease("work", shares=8, about="all") as first:
            assert (sorted(first.held), first.holders) == (list(range(8)), 1)
            with bank.lease("work", shares=8, about="all") as second:
                assert second.held == {}
                assert len(first.turn()) == len(second.turn()) == 4
                assert sorted([*first.held, *second.held]) == list(range(8))
                assert first.holders == second.holders == 2
            assert sorted(first.turn()) == list(range(8))
        with bank.lease("work", shares=3, about="something else") as third:
            assert len(third.held) == 3

    def test_who_shares_has_to_mean_the_same(self, bank: Bank) -> None:
        with bank.lease("work", shares=8, about="all") as first:
            for about, shares in (("others", 8), ("all", 4)):
                with pytest.raises(carls.InvalidRequestError, match="expected the same"):
                    bank.lease("work", shares=shares, about=about)
            assert len(first.turn()) == 8

    def test_a_table_under_a_lease_is_announced_by_shares(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        with bank.lease("work", shares=4) as lease:
            lease.cover(table)
            table.assign([1, 2], np.ones((2, 1), np.float32), step=3)
            table.announce(3, part=(0, 1, 2, 3), parts=4)
            assert table.knowledge().step == 3
            with pytest.raises(carls.InvalidRequestError, match="expected some of its own"):
                table.announce(4)
            with bank.lease("work", shares=4) as other:
                assert len(lease.turn()) == len(other.turn()) == 2
                for share in other.held:
                    with pytest.raises(carls.InvalidRequestError, match="holds the shares"):
                        table.announce(4, part=share, parts=4)
            assert table.knowledge().step == 3
        table.announce(5)
        assert table.knowledge().step == 5, "the handle is free again"

    def test_after_the_end_of_a_lease_its_writes_are_refused(self, bank: Bank) -> None:
        table, other = bank.embeddings("t", dim=1), bank.embeddings("t", dim=1)
        lease = bank.lease("work", shares=4, lease_s=0.1)
        lease.cover(table)
        lease._closed.set()  # it dies: nobody renews it, and nobody gives anything back
        lease._keeper.join()
        table.assign([1], np.full((1, 1), 7, np.float32), step=7)

        deadline = time.monotonic() + 30.0
        with bank.lease("work", shares=4) as next_one:
            while len(next_one.turn()) < 4:
                assert time.monotonic() < deadline, "the lease did not run out"
            other.assign([1], np.full((1, 1), 9, np.float32), step=9)
            with pytest.raises(carls.ClientForgottenError, match="lease"):
                lease.turn()
            with pytest.raises(carls.ClientForgottenError, match="lease"):
                table.assign([1], np.full((1, 1), 8, np.float32), step=8)
        assert other.lookup([1]).step.tolist() == [9]

    def test_closing_the_bank_ends_its_leases(self, bank: Bank) -> None:
        with bank if bank.url == "memory://" else carls.connect(bank.url) as closing:
            table = closing.embeddings("t", dim=1)
            lease = closing.lease("work", shares=4, lease_s=3600.0)
            lease.cover(table)
            table.assign_async([1], np.ones((1, 1), np.float32), step=3)
        assert lease.held == {}
        assert not lease._keeper.is_alive()
        if closing is not bank:
            assert bank.embeddings("t", dim=1).lookup([1], create=False).step.tolist() == [3]
            with bank.lease("work", shares=4) as other:
                assert len(other.held) == 4

    def test_leases_that_cannot_be(self, bank: Bank) -> None:
        wrong: list[dict[str, Any]] = [
            {"name": "a b"},
            {"shares": 0},
            {"shares": 1025},
            {"shares": 1.5},
            {"lease_s": 0},
            {"lease_s": "long"},
            {"about": "x" * 1001},
        ]
        for arguments in wrong:
            with pytest.raises(carls.InvalidRequestError):
                bank.lease(**{"name": "work", **arguments})
