"""MakerRunner in a thread and MakerProcess: the same behaviour."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading

import numpy as np
import pytest
from sample_makers import DIM, Broken, BrokenOddly, Dying, Features, Scale, WrongValues

import carls
from carls.errors import CarlsError, InvalidKeyError, InvalidRequestError, InvalidSpecError
from carls.makers import (
    KnowledgeMaker,
    MakerProcess,
    MakerRunner,
    MostRequested,
    StalestFirst,
    Stretching,
    Write,
)
from carls.service import BankProcess

KEYS = np.arange(10)


@pytest.fixture(params=[MakerRunner, MakerProcess])
def runs(request):
    return request.param


def rows_of(bank):
    return bank.embeddings("rows", dim=DIM, keys="int64")


def expect_rows(bank, until, factor, step):
    table = rows_of(bank)
    until(lambda: (table.lookup(KEYS, create=False).step == step).all())
    rows = table.lookup(KEYS, create=False)
    np.testing.assert_array_equal(rows.values, np.repeat(KEYS[:, None], DIM, axis=1) * np.float32(factor))
    return rows


def test_rows_follow_the_checkpoints(bank, server, publish, until, runs):
    rows_of(bank)
    publish(bank, 3, 2.0)
    with runs(server.url, Scale(), model="model", keys=KEYS, batch_size=4) as maker:
        expect_rows(bank, until, 2.0, step=3)
        publish(bank, 8, 5.0)
        expect_rows(bank, until, 5.0, step=8)
        until(lambda: maker.progress.passes == 2)
        progress = maker.progress
    assert progress.checkpoint_step == 8
    assert progress.rows_written == 20
    assert progress.rows_per_s > 0
    assert progress.last_error is None


def test_feature_tables_are_written_too(bank, server, publish, until, runs):
    rows_of(bank)
    facts = bank.features("facts", {"label": "int32", "near": "list<int64>"}, keys="int64")
    publish(bank, 1, 1.0)
    with runs(server.url, Features(), model="model", keys=KEYS):
        until(lambda: facts.lookup(KEYS).found.all())
    row = facts.lookup([3])
    assert row["label"].tolist() == [1]
    assert row["near"][0] == [4]
    assert row.step.tolist() == [1]


def test_a_table_that_comes_later_is_waited_for(bank, server, publish, until, runs):
    publish(bank, 1, 4.0)
    with runs(server.url, Scale(), model="model", keys=KEYS) as maker:
        until(lambda: maker.progress.interruptions >= 1)
        assert "rows" in maker.progress.last_error
        expect_rows(bank, until, 4.0, step=1)


class Publishing(KnowledgeMaker):
    """Publishes the next checkpoint while it makes rows from this one, up to a last; notes what it made."""

    def __init__(self, bank, last):
        self.bank, self.last, self.batches = bank, last, []

    def make(self, model, keys):
        if model.step < self.last:
            self.bank.models.publish("model", {"factor": np.ones(1, np.float32)}, step=model.step + 1)
        self.batches.append((model.step, keys.tolist()))
        return Scale().make(model, keys)


def test_a_partial_schedule_looks_for_a_newer_checkpoint_after_each_part(publish, until):
    with carls.connect() as bank:
        table, maker = rows_of(bank), Publishing(bank, last=3)
        publish(bank, 1, 1.0)
        with MakerRunner(bank, maker, model="model", keys=KEYS, schedule=StalestFirst(rows=4)):
            until(lambda: table.knowledge().step == 3)
        assert maker.batches == [
            (1, [0, 1, 2, 3]),
            (2, [4, 5, 6, 7]),
            (3, [8, 9, 0, 1]),
            (3, [2, 3, 4, 5]),
            (3, [6, 7]),
        ]


@pytest.mark.parametrize("steps", [None, [7, 3, -1, 5, 9, 1, 0, 8, 2, 4]])
def test_stalest_first_knows_rows_that_others_made(publish, until, steps):
    with carls.connect() as bank:
        table = rows_of(bank)
        for key, step in enumerate(steps or []):
            if step >= 0:
                table.assign([key], np.ones((1, DIM), np.float32), step=step)
        publish(bank, 20, 1.0)
        maker = Publishing(bank, last=0)
        maker.tables = ("rows",)
        schedule = StalestFirst(rows=len(KEYS))
        with MakerRunner(bank, maker, model="model", keys=KEYS, schedule=schedule, batch_size=3):
            until(lambda: table.knowledge().step == 20)
        order = [key for _, keys in maker.batches for key in keys]
        assert order == (np.argsort(steps, kind="stable").tolist() if steps else KEYS.tolist())


def test_rows_of_a_later_step_are_of_another_course_and_come_first(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)
        table.assign(KEYS, np.ones((10, DIM), np.float32), step=4)
        table.assign([6], np.ones((1, DIM), np.float32), step=1000)
        publish(bank, 5, 1.0)
        maker = Publishing(bank, last=0)
        maker.tables = ("rows",)
        with MakerRunner(bank, maker, model="model", keys=KEYS, schedule=StalestFirst(rows=3)):
            until(lambda: table.knowledge().step == 5)
        assert maker.batches[0] == (5, [6, 0, 1])


def test_most_requested_first_makes_what_trainers_ask_for(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)
        table.assign(KEYS, np.ones((10, DIM), np.float32), step=0)
        table.survey(KEYS)  # as of a runner's earlier walk: from here on requests count
        for _ in range(3):
            table.lookup([7, 2], create=False)
        table.lookup([2, 5])
        publish(bank, 10, 1.0)
        maker = Publishing(bank, last=0)
        maker.tables = ("rows",)
        schedule = MostRequested(rows=len(KEYS))
        with MakerRunner(bank, maker, model="model", keys=KEYS, schedule=schedule):
            until(lambda: table.knowledge().step == 10)
        assert maker.batches == [(10, [2, 7, 5, 0, 1, 3, 4, 6, 8, 9])]


class ToTexts(KnowledgeMaker):
    """Writes rows under other keys than those that are walked."""

    tables = ("texts",)

    def make(self, model, keys):
        return [Write("texts", [str(key) for key in keys], np.ones((len(keys), 2), np.float32))]


def test_rows_under_other_keys_say_nothing_about_the_keys(publish, until):
    with carls.connect() as bank:
        texts = bank.embeddings("texts", dim=2, keys="string")
        publish(bank, 1, 1.0)
        with MakerRunner(bank, ToTexts(), model="model", keys=KEYS, schedule="stalest"):
            until(lambda: texts.knowledge().step == 1)
        assert len(texts) == 10


def test_a_budget_bounds_the_rate_and_waits_end_with_the_runner(publish, until):
    with carls.connect() as bank:
        rows_of(bank)
        publish(bank, 1, 1.0)
        with MakerRunner(bank, Scale(), model="model", keys=KEYS, rows_per_s=0.01) as maker:
            until(lambda: maker.progress.rows_written == 1)  # and then nothing for 100 s
        assert (maker.progress.rows_written, maker.progress.passes) == (1, 0)


def test_a_budget_is_kept_over_a_walk(publish, until):
    with carls.connect() as bank:
        rows_of(bank)
        publish(bank, 1, 1.0)
        with MakerRunner(bank, Scale(), model="model", keys=np.arange(250), rows_per_s=100.0) as maker:
            until(lambda: maker.progress.passes == 1)
        # 100 may have been saved up, and the last 50 are written before they are paid for.
        assert 0 < maker.progress.rows_per_s <= 300


def test_a_model_that_rests_is_followed_more_and_more_seldom(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)
        interval = Stretching(change=0.5, factor=2, longest=8)
        with MakerRunner(bank, Scale(), model="model", keys=KEYS, interval=interval) as maker:
            made, last = [], None
            for step in range(40):
                publish(bank, step, factor=1.0)
                due = last is None or step >= last + maker.progress.interval_steps
                if due:
                    until(lambda step=step: table.knowledge().step == step)
                    made.append(step)
                    last = step
            assert made == [0, 1, 3, 7, 15, 23, 31, 39]
            assert maker.progress.interval_steps == 8
            publish(bank, 47, factor=100.0)
            until(lambda: table.knowledge().step == 47)
            assert maker.progress.interval_steps == 4
        assert maker.progress.passes == 9


def test_the_trainer_that_is_ahead_is_followed(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)
        publish(bank, 100, 2.0)
        with MakerRunner(bank, Scale(), model="model", keys=KEYS):
            until(lambda: table.knowledge().step == 100)
            for behind, ahead in ((5, 101), (6, 102)):
                bank.models.publish("model", {"factor": np.full(1, ahead, np.float32)}, step=ahead)
                publish(bank, behind, 7.0)  # hides the other one as the last published
                until(lambda ahead=ahead: table.knowledge().step == ahead)
                rows = table.lookup(KEYS, create=False)
                assert rows.step.tolist() == [ahead] * 10
                np.testing.assert_array_equal(rows.values[:, 0], KEYS * np.float32(ahead))


def test_an_exception_of_the_maker_stops_it_and_reaches_its_owner(bank, server, publish, until, runs):
    rows_of(bank)
    publish(bank, 0, 1.0)
    maker = runs(server.url, Broken(), model="model", keys=KEYS).start()
    expect_rows(bank, until, 1.0, step=0)
    publish(bank, 1, 1.0)

    def raised():
        try:
            return maker.progress and None
        except ZeroDivisionError as error:
            return error

    assert "step 1 is too much" in str(until(raised))
    assert maker.stop().passes == 1
    assert maker.progress.passes == 1


def test_leaving_the_with_block_raises_what_went_wrong(bank, server, publish, runs):
    rows_of(bank)
    publish(bank, 0, 1.0)
    with pytest.raises(InvalidRequestError, match="expected an array for embedding tables"):
        with runs(server.url, WrongValues(), model="model", keys=KEYS) as maker:
            (maker._thread if runs is MakerRunner else maker._process).join(30)


def test_a_bank_killed_and_restarted_empty_is_filled_again(publish, until, runs):
    port = free_port()
    first = BankProcess(("--port", str(port)))
    with carls.connect(first.url) as bank:
        publish(bank, 1000, 2.0)
        with runs(first.url, Scale(), model="model", keys=KEYS) as maker:
            expect_rows(bank, until, 2.0, step=1000)
            first.kill()
            with BankProcess(("--port", str(port))) as second, carls.connect(second.url) as empty:
                # A restarted trainer begins anew, so that its steps are lower than before.
                publish(empty, 5, 7.0)
                expect_rows(empty, until, 7.0, step=5)
                until(lambda: rows_of(empty).knowledge().step == 5)
                assert maker.progress.interruptions >= 1
                maker.stop()  # before its bank, which would have to be waited for


def test_a_bank_that_is_not_there_yet_is_waited_for(publish, until, runs):
    port = free_port()
    with runs(f"grpc://127.0.0.1:{port}", Scale(), model="model", keys=KEYS) as maker:
        with BankProcess(("--port", str(port))) as server, carls.connect(server.url) as bank:
            publish(bank, 2, 3.0)
            expect_rows(bank, until, 3.0, step=2)
            maker.stop()


def test_stopping_while_idle_returns_what_was_done(bank, server, runs):
    maker = runs(server.url, Scale(), model="model", keys=KEYS).start()
    assert maker.stop().passes == 0
    assert maker.stop().passes == 0
    with pytest.raises(InvalidRequestError, match="started before"):
        maker.start()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"keys": []}, InvalidKeyError),
        ({"schedule": "rarely"}, InvalidSpecError),
        ({"batch_size": 0}, InvalidRequestError),
        ({"model": "a b"}, InvalidSpecError),
        ({"rows_per_s": 0}, InvalidRequestError),
        ({"interval": "weekly"}, InvalidSpecError),
        ({"share": "a b"}, InvalidSpecError),
        ({"share": "all", "lease_s": 0.0}, InvalidRequestError),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(runs, changes, error):
    with pytest.raises(error):
        runs("grpc://127.0.0.1:1", Scale(), **{"model": "model", "keys": KEYS, **changes})
    with pytest.raises(InvalidRequestError, match="private"):
        runs("memory://", Scale(), model="model", keys=KEYS)


def test_a_runner_shares_the_bank_of_its_owner(publish, until):
    with carls.connect() as bank:
        publish(bank, 1, 2.0)
        with MakerRunner(bank, Scale(), model="model", keys=KEYS):
            expect_rows(bank, until, 2.0, step=1)
        assert bank.tables()[0].rows == len(KEYS), "the runner closed a bank that is not its own"


def test_run_works_in_the_callers_thread_until_the_deadline(publish):
    with carls.connect() as bank:
        rows_of(bank)
        publish(bank, 1, 2.0)
        assert MakerRunner(bank, Scale(), model="model", keys=KEYS).run(deadline_s=0.5).passes == 1


def test_no_thread_or_process_is_left(bank, server, publish, until, runs):
    rows_of(bank)
    publish(bank, 1, 2.0)
    before = set(threading.enumerate())
    with runs(server.url, Scale(), model="model", keys=KEYS):
        expect_rows(bank, until, 2.0, step=1)
    assert not multiprocessing.active_children()
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any("maker" in name for name in left), left


def test_an_exception_that_cannot_travel_arrives_as_text(bank, server, publish, until):
    publish(bank, 1, 2.0)
    with pytest.raises(RuntimeError, match="Unsendable: model and 10 keys"):
        with MakerProcess(server.url, BrokenOddly(), model="model", keys=KEYS) as maker:
            maker._process.join(30)


def test_a_process_that_dies_is_reported(bank, server, publish):
    publish(bank, 1, 2.0)
    maker = MakerProcess(server.url, Dying(), model="model", keys=KEYS).start()
    maker._process.join(30)
    with pytest.raises(CarlsError, match="exit code 10"):
        maker.stop()


def _own_a_maker(url, pipe):
    maker = MakerProcess(url, Scale(), model="model", keys=KEYS).start()
    pipe.send(maker.pid)
    threading.Event().wait(60)


def test_a_process_ends_when_its_owner_is_killed(server, until):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    owner = context.Process(target=_own_a_maker, args=(server.url, theirs))
    owner.start()
    assert ours.poll(60)
    pid = ours.recv()
    os.kill(owner.pid, signal.SIGKILL)
    owner.join(30)

    def gone():
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    until(gone)


def test_writes_that_cannot_be_are_refused():
    with pytest.raises(InvalidSpecError, match="table name"):
        Write("", [1], np.zeros((1, 2)))
    with pytest.raises(InvalidSpecError, match="list"):
        Write("rows", [1], [[1.0, 2.0]])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
