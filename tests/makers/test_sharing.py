"""Makers that share the work: who makes what, and what becomes of the shares of those that are gone."""

from __future__ import annotations

import os
import signal
import socket
import threading

import numpy as np
import pytest
from sample_makers import DIM, Broken, Scale, StopsItself

import carls
from carls.makers import KnowledgeMaker, MakerProcess, MakerRunner, StalestFirst
from carls.messages import RenewLease
from carls.service import BankProcess

KEYS = np.arange(128)


def sharing(url, maker=None, runs=MakerProcess, **changes):
    settings = {"model": "model", "keys": KEYS, "share": "work", "lease_s": 1.0}
    return runs(url, maker or Scale(), **{**settings, **changes})


def rows_of(bank):
    return bank.embeddings("rows", dim=DIM, keys="int64")


def halves(*makers):
    return [maker.progress.shares for maker in makers] == [32, 32]


def steps(table):
    return set(table.lookup(KEYS, create=False).step.tolist())


def test_two_makers_make_a_half_each(bank, server, publish, until):
    table = rows_of(bank)
    with sharing(server.url, lease_s=10.0) as first:
        until(lambda: first.progress.shares == 64)
        with sharing(server.url, lease_s=10.0) as second:
            until(lambda: halves(first, second))
            before = [maker.progress.rows_written for maker in (first, second)]
            for step in (1, 2, 3):
                publish(bank, step, factor=step)
                until(lambda step=step: table.knowledge().step == step)
                rows = table.lookup(KEYS, create=False)
                assert rows.step.tolist() == [step] * len(KEYS)
                np.testing.assert_array_equal(rows.values[:, 0], KEYS * np.float32(step))
            after = [maker.progress.rows_written for maker in (first, second)]
            assert np.subtract(after, before).tolist() == [3 * 64, 3 * 64]
        publish(bank, 4, factor=1.0)
        until(lambda: table.knowledge().step == 4)
        assert first.progress.shares == 64, "what was stopped gave its shares back"


@pytest.mark.parametrize("schedule", ["all", pytest.param(StalestFirst(rows=9), marks=pytest.mark.slow)])
def test_a_trainer_in_lockstep_is_served_while_makers_come_and_go(bank, server, publish, schedule):
    table = rows_of(bank)
    limit = carls.DriftLimit(table, max_age_steps=0, timeout_s=60.0)
    makers = [sharing(server.url, schedule=schedule).start()]
    try:
        for step in range(30):
            if step == 10:
                makers.append(sharing(server.url, schedule=schedule).start())
            if step == 20:
                os.kill(makers[0].pid, signal.SIGKILL)
            publish(bank, step, factor=step)
            limit.wait(step)
            assert steps(table) == {step}
    finally:
        with pytest.raises(carls.CarlsError, match="died"):
            makers[0].stop()
        makers[1].stop()
    assert makers[1].progress.rows_written >= 10 * len(KEYS), "it made all since the other died"


def test_a_maker_that_was_paused_for_longer_than_its_lease_spoils_nothing(bank, server, publish, until):
    table = rows_of(bank)
    with sharing(server.url, StopsItself()) as paused, sharing(server.url) as other:
        try:
            until(lambda: halves(paused, other))
            publish(bank, 1, factor=1.0)
            until(lambda: table.knowledge().step == 1)
            publish(bank, 2, factor=2.0)  # it stops here, with rows of step 2 in its hands
            until(lambda: other.progress.shares == 64)
            publish(bank, 3, factor=3.0)
            until(lambda: table.knowledge().step == 3)
            assert steps(table) == {3}
        finally:
            os.kill(paused.pid, signal.SIGCONT)
        until(lambda: paused.progress.interruptions > 0)
        assert "lease" in paused.progress.last_error
        until(lambda: halves(paused, other))
        assert steps(table) == {3}
        assert table.knowledge().step == 3
        publish(bank, 4, factor=4.0)
        until(lambda: table.knowledge().step == 4)
        assert steps(table) == {4}
        assert table.statistics().counters.rejected >= 1, "its rows of step 2 were refused"


def test_a_bank_that_comes_back_empty_is_filled_and_shared_again(publish, until):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bank = BankProcess(("--port", str(port)))
    with sharing(bank.url) as first, sharing(bank.url) as second:
        with carls.connect(bank.url) as old:
            rows_of(old)
            until(lambda: halves(first, second))
            publish(old, 1000, factor=1.0)
            until(lambda: rows_of(old).knowledge().step == 1000)
            bank.kill()
        with BankProcess(("--port", str(port))) as again, carls.connect(again.url) as new:
            table = rows_of(new)
            publish(new, 5, factor=7.0)
            until(lambda: table.knowledge().step == 5)
            assert steps(table) == {5}
            until(lambda: halves(first, second))
            first.stop(), second.stop()  # before their bank, which would have to be waited for


class Gate(KnowledgeMaker):
    """A maker whose batch lasts until it is told to go on."""

    def __init__(self):
        self.inside, self.on = threading.Event(), threading.Event()

    def make(self, model, keys):
        self.inside.set()
        assert self.on.wait(60)
        return Scale().make(model, keys)


def test_a_lease_is_kept_while_a_batch_lasts(publish, until, monkeypatch):
    with carls.connect() as bank:
        table, gate, renewals = rows_of(bank), Gate(), []
        call = bank._transport.call

        def watched(request, timeout_s):
            reply = call(request, timeout_s)
            if isinstance(request, RenewLease):
                renewals.append(request)
            return reply

        monkeypatch.setattr(bank._transport, "call", watched)
        publish(bank, 1, factor=1.0)
        with sharing(bank, gate, runs=MakerRunner) as maker:
            assert gate.inside.wait(30)
            count = len(renewals)
            until(lambda: len(renewals) >= count + 3)
            gate.on.set()
            until(lambda: table.knowledge().step == 1)
            assert maker.progress.interruptions == 0


def test_what_a_maker_raises_gives_its_shares_back_at_once(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)
        publish(bank, 0, factor=1.0)
        broken = sharing(bank, Broken(), runs=MakerRunner, lease_s=3600.0).start()
        until(lambda: table.knowledge().step == 0)
        publish(bank, 1, factor=2.0)
        with sharing(bank, runs=MakerRunner, lease_s=1.0) as maker:
            until(lambda: maker.progress.shares == 64)
            until(lambda: table.knowledge().step == 1)
        with pytest.raises(ZeroDivisionError):
            broken.stop()


def test_makers_of_a_group_have_to_make_the_same_keys(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)  # without it the first one would be interrupted, and let go of its shares
        publish(bank, 1, factor=1.0)
        with sharing(bank, runs=MakerRunner, lease_s=10.0):
            until(lambda: table.knowledge().step == 1)
            for changes in ({"keys": KEYS[:64]}, {"keys": KEYS[::-1]}, {"model": "other"}):
                with pytest.raises(carls.InvalidRequestError, match="the same model, keys and shares"):
                    sharing(bank, runs=MakerRunner, **changes).run(deadline_s=30.0)


def test_more_makers_than_keys(publish, until):
    with carls.connect() as bank:
        table = rows_of(bank)
        makers = [sharing(bank, runs=MakerRunner, keys=[1, 2], lease_s=10.0).start() for _ in range(3)]
        until(lambda: sorted(maker.progress.shares for maker in makers) == [0, 1, 1])
        publish(bank, 1, factor=1.0)
        until(lambda: table.knowledge().step == 1)
        assert sorted(maker.stop().rows_written for maker in makers) == [0, 1, 1]
