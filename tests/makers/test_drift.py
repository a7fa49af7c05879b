"""Makers announce how new their rows are, and trainers with a drift limit wait for them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sample_makers import DIM, DiesMidWalk, Features, Scale

import carls
from carls.errors import CarlsError
from carls.makers import KnowledgeMaker, MakerProcess, MakerRunner, StalestFirst, Stretching

KEYS = np.arange(10)


@pytest.fixture
def own():
    """A bank in this process, where processes of makers would say no more than threads do."""
    with carls.connect() as bank:
        yield bank


def rows_of(bank):
    return bank.embeddings("rows", dim=DIM, keys="int64")


@pytest.mark.parametrize("max_age_steps", [0, 4])
def test_no_row_is_older_than_the_limit(bank, server, publish, max_age_steps):
    table = rows_of(bank)
    limit = carls.DriftLimit(table, max_age_steps, timeout_s=60.0)
    ages = []
    with MakerProcess(server.url, Scale(), model="model", keys=KEYS, batch_size=3):
        for step in range(40):
            publish(bank, step, factor=step)
            limit.wait(step)
            rows = table.lookup(KEYS, create=False)
            assert rows.found.all()
            ages.append(step - rows.step.min())
            np.testing.assert_array_equal(rows.values[:, 0], KEYS * rows.step)
    assert max(ages) <= max_age_steps
    assert limit.age_steps <= max_age_steps


def test_a_trainer_publishes_as_seldom_as_the_limit_allows(own, publish):
    table = rows_of(own)
    limit = carls.DriftLimit(table, max_age_steps=4, timeout_s=60.0)
    with MakerRunner(own, Scale(), model="model", keys=KEYS):
        for step in range(20):
            if step % 5 == 0:
                publish(own, step, factor=1.0)
            limit.wait(step)
            assert (table.lookup(KEYS, create=False).step >= step - 4).all()


def test_an_interval_within_the_limit_lets_nobody_wait_in_vain(own, publish):
    table = rows_of(own)
    limit = carls.DriftLimit(table, max_age_steps=8, timeout_s=60.0)
    interval = Stretching(change=0.5, longest=4)
    with MakerRunner(own, Scale(), model="model", keys=KEYS, interval=interval) as maker:
        for step in range(60):
            if step % 2 == 0:
                publish(own, step, factor=1.0)
            limit.wait(step)
            assert (table.lookup(KEYS, create=False).step >= step - 8).all()
        assert maker.progress.passes < 30, "some checkpoints were let pass"
        assert maker.progress.interval_steps == 4


class Gate(KnowledgeMaker):
    """A maker that waits before the checkpoints after the first."""

    def __init__(self):
        self.open = threading.Event()

    def make(self, model, keys):
        if model.step > 0:
            assert self.open.wait(60)
        return Scale().make(model, keys)


def test_a_trainer_runs_ahead_of_a_slow_maker_up_to_the_limit(own, publish):
    table, gate = rows_of(own), Gate()
    limit = carls.DriftLimit(table, max_age_steps=4, timeout_s=60.0)
    brief = carls.DriftLimit(table, max_age_steps=4, timeout_s=0.05)
    with MakerRunner(own, gate, model="model", keys=KEYS):
        for step in range(5):
            publish(own, step, factor=1.0)
            limit.wait(step)
        publish(own, 5, factor=1.0)
        with pytest.raises(carls.DeadlineExceededError, match="step 1 or later"):
            brief.wait(5)
        assert table.lookup(KEYS, create=False).step.tolist() == [0] * 10
        gate.open.set()
        assert limit.wait(5) > 0
        assert (table.lookup(KEYS, create=False).step >= 1).all()


def test_every_table_that_was_written_is_announced(own, publish):
    rows = rows_of(own)
    facts = own.features("facts", {"label": "int32", "near": "list<int64>"}, keys="int64")
    limit = carls.DriftLimit([rows, facts], max_age_steps=0, timeout_s=60.0)
    with MakerRunner(own, Features(), model="model", keys=KEYS):
        for step in (3, 7):
            publish(own, step, factor=1.0)
            limit.wait(step)
            assert facts.lookup(KEYS).step.tolist() == [step] * 10
            assert rows.lookup(KEYS, create=False).step.tolist() == [step] * 10


class Comparing(KnowledgeMaker):
    """Compares what is announced with the oldest row, before each batch; publishes on."""

    def __init__(self, bank, table, last):
        self.bank, self.table, self.last, self.told = bank, table, last, []

    def make(self, model, keys):
        rows = self.table.lookup(KEYS, create=False)
        self.told.append((self.table.knowledge().step, int(rows.step.min()) if rows.found.all() else -1))
        if model.step < self.last:
            self.bank.models.publish("model", model.tensors, step=model.step + 10)
        return Scale().make(model, keys)


def test_a_partial_schedule_announces_its_oldest_row(own, publish, until):
    table = rows_of(own)
    maker = Comparing(own, table, last=50)
    publish(own, 10, factor=1.0)
    with MakerRunner(own, maker, model="model", keys=KEYS, schedule=StalestFirst(rows=4)):
        until(lambda: table.knowledge().step == 50)
    assert maker.told[:5] == [(-1, -1), (-1, -1), (-1, -1), (10, 10), (20, 20)]
    assert all(known == oldest for known, oldest in maker.told)


def test_a_partial_schedule_goes_on_while_a_trainer_waits(own, publish):
    table = rows_of(own)
    limit = carls.DriftLimit(table, max_age_steps=0, timeout_s=60.0)
    with MakerRunner(own, Scale(), model="model", keys=KEYS, schedule=StalestFirst(rows=3)):
        for step in range(5):
            publish(own, step, factor=1.0)
            limit.wait(step)
            assert table.lookup(KEYS, create=False).step.tolist() == [step] * 10


def test_a_maker_that_dies_mid_walk_announces_nothing_and_may_be_replaced(bank, server, publish):
    table = rows_of(bank)
    limit = carls.DriftLimit(table, max_age_steps=0, timeout_s=60.0)
    brief = carls.DriftLimit(table, max_age_steps=0, timeout_s=0.05)
    publish(bank, 1, factor=1.0)
    maker = MakerProcess(server.url, DiesMidWalk(), model="model", keys=KEYS, batch_size=4).start()
    limit.wait(1)
    publish(bank, 2, factor=1.0)
    maker._process.join(30)
    with pytest.raises(CarlsError, match="exit code 7"):
        maker.stop()
    assert table.lookup(KEYS, create=False).step.tolist() == [2] * 4 + [1] * 6
    with pytest.raises(carls.DeadlineExceededError, match="knowledge of step 1"):
        brief.wait(2)
    with MakerProcess(server.url, Scale(), model="model", keys=KEYS):
        limit.wait(2)
        assert table.lookup(KEYS, create=False).step.tolist() == [2] * 10


def test_a_new_maker_of_a_trainer_that_begins_anew_is_waited_for(own, publish, until):
    table = rows_of(own)
    publish(own, 1000, factor=1.0)
    with MakerRunner(own, Scale(), model="model", keys=KEYS):
        carls.DriftLimit(table, max_age_steps=0).wait(1000)
    publish(own, 0, factor=2.0)
    with MakerRunner(own, Scale(), model="model", keys=KEYS):
        until(lambda: table.knowledge().step == 0)
        limit = carls.DriftLimit(table, max_age_steps=0, timeout_s=60.0)
        for step in (1, 2, 3):
            publish(own, step, factor=2.0)
            limit.wait(step)
            assert table.lookup(KEYS, create=False).step.tolist() == [step] * 10


@pytest.mark.parametrize(
    ("one", "other"), [(None, None), ("ours", "theirs"), ("ours", None), (None, "theirs")]
)
def test_makers_that_share_a_table_unawares_are_told(own, publish, until, one, other):
    table = rows_of(own)
    publish(own, 1, factor=1.0)
    first = MakerRunner(own, Scale(), model="model", keys=KEYS[:5], share=one).start()
    until(lambda: table.knowledge().step == 1)
    with MakerRunner(own, Scale(), model="model", keys=KEYS[5:], share=other) as second:
        until(lambda: second.progress.passes == 1)
        publish(own, 2, factor=1.0)
        until(lambda: not first._thread.is_alive())
    with pytest.raises(carls.InvalidRequestError, match="share="):
        first.stop()
