"""How new knowledge is, and trainers that wait for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class DriftLimits:
    """How new knowledge is, and trainers that wait for it."""

    def test_knowledge_is_as_new_as_announced(self, bank: Bank) -> None:
        table = bank.features("t", {"label": "int32"})
        assert table.knowledge().step == -1
        table.assign([1], {"label": [3]}, step=4)
        table.announce(4)
        table.announce(2)  # late
        info = table.knowledge()
        assert (info.step, info.part, info.parts, info.producer) == (4, 0, 1, bank.producer)
        assert 0 <= info.age < 60
        assert table.knowledge(at_least=5, wait_s=0.05).step == 4
        bank.drop("t")
        assert bank.embeddings("t", dim=1).knowledge().step == -1

    def test_makers_share_a_table_in_parts_and_one_announces_each(self, bank: Bank) -> None:
        first, second = bank.embeddings("t", dim=1), bank.embeddings("t", dim=1)
        first.announce(9, part=[0], parts=2)
        assert first.knowledge().step == -1
        second.announce(3, part=1, parts=2)
        assert first.knowledge().step == 3
        second.announce(12, part=1, parts=2)
        assert first.knowledge().step == 9
        first.announce(5)
        second.announce(4)
        assert first.knowledge().step == 4
        with pytest.raises(carls.InvalidRequestError, match="part= and parts="):
            first.announce(10)
        assert first.knowledge().step == 4

    def test_nothing_is_announced_after_a_failed_write(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign_async([1], [[1.0]], step=1)
        table.assign_async([2], [[np.nan]], step=1)
        with pytest.raises(carls.InvalidValueError):
            table.announce(1)
        assert table.knowledge().step == -1
        table.assign_async([2], [[2.0]], step=1)
        table.announce(1)
        assert table.lookup([1, 2]).step.tolist() == [1, 1]
        assert table.knowledge().step == 1

    def test_a_limit_of_zero_is_lockstep(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        limit = carls.DriftLimit(table, max_age_steps=0, timeout_s=60.0)
        last = 29

        def make() -> None:
            mine, newest = bank.embeddings("t", dim=1), -1
            while newest < last:
                model = bank.models.latest("m", newer_than=newest, wait_s=60.0)
                assert model is not None
                newest = model.step
                mine.assign([0, 1, 2], np.full((3, 1), newest, np.float32), step=newest)
                mine.announce(newest)

        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(make)
            for step in range(last + 1):
                bank.models.publish("m", {"w": np.ones(1)}, step=step)
                limit.wait(step)
                assert table.lookup([0, 1, 2], create=False).step.tolist() == [step] * 3
                assert limit.age_steps == 0
            making.result(60)

    def test_a_trainer_runs_ahead_up_to_the_limit(self, bank: Bank) -> None:
        table = bank.features("t", {"label": "int32"})
        limit = carls.DriftLimit(table, max_age_steps=4, timeout_s=60.0)
        brief = carls.DriftLimit(table, max_age_steps=4, timeout_s=0.05)
        table.announce(0)
        for step in range(5):
            assert limit.wait(step) >= 0
        assert limit.age_steps == 4
        with pytest.raises(carls.DeadlineExceededError):
            brief.wait(5)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(limit.wait, 5)
            table.announce(1)
            assert waiting.result(30) > 0
        assert limit.age_steps == 4

    def test_a_limit_that_is_not_kept_says_what_to_do(self, bank: Bank) -> None:
        ready, table = bank.embeddings("ready", dim=1), bank.embeddings("labels", dim=1)
        ready.announce(100)
        limit = carls.DriftLimit([ready, table], max_age_steps=4, timeout_s=0.05)
        with pytest.raises(carls.DeadlineExceededError, match=r"no knowledge.*Nothing was ever announced"):
            limit.wait(0)
        assert limit.age_steps is None
        table.announce(3)
        with pytest.raises(carls.DeadlineExceededError) as caught:
            limit.wait(10)
        for words in (
            "'labels'",
            "knowledge of step 3",
            "step 10 with max_age_steps=4",
            f"announced last by {bank.producer!r}",
            "Is a maker running? Is a checkpoint of step 6 or later published?",
            "at least every 5 steps",
        ):
            assert words in str(caught.value)
        assert caught.value.table == "labels"
        assert caught.value.details == {"knowledge_step": 3, "step": 10, "needed_step": 6}
        table.announce(6)
        limit.wait(10)
        assert limit.age_steps == 4

    def test_without_a_limit_nobody_waits(self, bank: Bank) -> None:
        limit = carls.DriftLimit(bank.embeddings("t", dim=1), max_age_steps=None)
        assert [limit.wait(step) for step in (0, 1000, 2**40)] == [0.0, 0.0, 0.0]
        assert limit.age_steps is None

    def test_closing_the_bank_wakes_who_waits(self, bank: Bank) -> None:
        limit = carls.DriftLimit(bank.embeddings("t", dim=1), timeout_s=600.0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(limit.wait, 0)
            bank.close()
            assert isinstance(waiting.exception(30), carls.ClosedError)

    def test_announcements_and_limits_that_cannot_be(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        announcements: list[dict[str, Any]] = [
            {"step": -1},
            {"step": 1.5},
            {"step": 2**63},
            {"step": 1, "part": 1},
            {"step": 1, "part": -1, "parts": 2},
        ]
        for arguments in announcements:
            with pytest.raises(carls.InvalidRequestError, match=f"{list(arguments)[-1]}=|part="):
                table.announce(**arguments)
        assert table.knowledge().step == -1
        limits: list[dict[str, Any]] = [
            {"max_age_steps": -1},
            {"max_age_steps": 0.5},
            {"timeout_s": 0},
            {"tables": []},
            {"tables": ["t"]},
        ]
        for arguments in limits:
            with pytest.raises(carls.InvalidRequestError, match=next(iter(arguments))):
                carls.DriftLimit(**{"tables": table, **arguments})
        with pytest.raises(carls.InvalidRequestError, match="step=-1"):
            carls.DriftLimit(table).wait(-1)
