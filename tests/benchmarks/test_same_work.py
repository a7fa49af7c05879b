"""What is compared does the same work: every case of a comparison gives the same rows."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from contextlib import ExitStack

import numpy as np
import pytest
import torch

import carls
from benchmarks import gaussian_memory, lookup, push, redis_server, remote, sampling
from benchmarks.plan import EXPONENT, Distribution, Plan
from benchmarks.staleness import Staleness
from benchmarks.tables import fill, integer_keys, string_keys, weights
from benchmarks.trainers import BankTrainer, Batches, LocalTrainer
from carls.cli.bench.echo import EchoClient, EchoServer, lookup_request, push_request
from carls.cli.bench.process import serving
from carls.errors import UnavailableError

ROWS, DIM, BATCH = 500, 8, 64


@pytest.fixture
def weight():
    return weights(ROWS, DIM)


def picks(batches=3):
    return Distribution.POWER_LAW.draw(ROWS, BATCH, batches)


def test_lookups_give_the_same_rows(weight):
    drawn = picks()
    with carls.connect() as bank:
        cases = lookup.Stores(bank.embeddings("t", dim=DIM), weight).cases(drawn)
        for i, pick in enumerate(drawn):
            for name, case in cases.items():
                np.testing.assert_array_equal(np.asarray(case(i)), weight[pick], err_msg=name)


@pytest.mark.parametrize("strategy", ["uniform", "frequency"])  # ties of rank are another order
def test_samples_have_the_same_rows_and_expected_counts(weight, strategy):
    drawn = picks()
    counts = np.bincount(np.concatenate(drawn), minlength=ROWS)
    store, keys = sampling.NumpyStore(weight, counts), integer_keys(ROWS)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=DIM)
        fill(table, keys, weight)
        for pick in drawn:
            table.lookup(keys[pick])
        ours = table.sample(1 + sampling.NEGATIVES, strategy, positives=keys[drawn[0]][:, None])
    values, expected = store.sample(strategy, drawn[0])
    shape = (BATCH, 1 + sampling.NEGATIVES, DIM)
    assert ours.values.shape == values.shape == store.sample_unique(strategy, drawn[0]).shape == shape
    np.testing.assert_array_equal(ours.values[:, 0], values[:, 0])
    np.testing.assert_allclose(ours.expected_count[:, 0], expected[:, 0], rtol=1e-6)
    places = {tuple(row): place for place, row in enumerate(store.weight.tolist())}
    for context in range(BATCH):
        left = 1 - store.shares[strategy][store.place[drawn[0][context]]]
        for rows, told in ((ours.values, ours.expected_count), (values, expected)):
            share = store.shares[strategy][[places[tuple(row)] for row in rows[context, 1:].tolist()]]
            np.testing.assert_allclose(told[context, 1:], sampling.NEGATIVES * share / left, rtol=1e-5)


def test_pushes_of_one_optimizer_change_rows_alike(weight):
    drawn, gradients = picks(), weights(BATCH, DIM)
    assert any(len(set(pick)) < BATCH for pick in drawn)
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=DIM, optimizer=carls.Adagrad(lr=push.LR))
        stores = push.Stores(table, weight)
        cases = stores.cases(drawn, gradients)
        for i in range(len(drawn)):
            for case in cases.values():
                case(i)
        ours = table.lookup(integer_keys(ROWS)).values
    for other in (
        stores.adagrad.embedding.weight.detach().numpy(),
        stores.numpy_added.weight,
        stores.numpy_sorted.weight,
    ):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-6)
    touched = np.unique(np.concatenate(drawn))
    moved = (stores.adam.embedding.weight.detach().numpy() != weight).any(1)
    assert moved[touched].all()
    assert moved.sum() == len(touched)


@pytest.mark.parametrize("socket", ["tcp", "unix"])
def test_remote_cases_move_batches_of_the_same_size(weight, socket):
    names = string_keys(ROWS)
    lists = [[names[place] for place in pick] for pick in picks()]
    with remote.Servers(socket) as servers, ExitStack() as clients:
        table = servers.table(ROWS, DIM)
        for name, case in remote.lookups(servers, table, lists, clients).items():
            values = case(1)
            assert values.shape == (BATCH, DIM), name
            assert values.dtype == np.float32, name
            assert values.flags.writeable, name
        before = table.lookup(lists[0], create=False)
        for case in remote.pushes(servers, table, lists, weights(BATCH, DIM), clients).values():
            case(0)
        assert (table.lookup(lists[0], create=False).version - before.version == 2).all()


def test_cases_of_all_dtypes_do_the_same_to_their_rows(weight):
    drawn = picks()
    names = string_keys(ROWS)
    lists = [[names[place] for place in pick] for pick in drawn]
    with remote.Servers("tcp") as servers:
        tables = servers.tables(servers.table(ROWS, DIM), ROWS)
        looked_up, pushed = remote.dtypes(tables, lists, weights(BATCH, DIM))
        assert list(looked_up) == list(pushed) == list(tables)
        for name, case in looked_up.items():
            np.testing.assert_allclose(case(1), weight[drawn[1]], rtol=1e-3, atol=1e-6, err_msg=name)
        for case in pushed.values():
            case(1)
        moved = {name: table.lookup(lists[1]) for name, table in tables.items()}
        for name, rows in moved.items():
            assert (rows.version == 2).all(), name
            np.testing.assert_allclose(rows.values, moved["float32"].values, atol=3e-3, err_msg=name)


def test_echoes_give_what_a_bank_would():
    with EchoServer("grpc://127.0.0.1:0") as server:
        url = f"grpc://127.0.0.1:{server.port}"
        request = lookup_request(["a", "bc"])
        assert request.column(0).to_pylist() == ["a", "bc"]
        with EchoClient(url, "fair lookup 3") as fair, EchoClient(url, "hot lookup 3 5") as hot:
            values, meta = fair.lookup(request)
            assert (values.shape, meta.shape, meta.dtype.itemsize) == ((2, 3), (2,), 32)
            values, meta = hot.lookup(request)
            assert (values.shape, meta) == ((5, 3), None)
        for kind in ("fair", "hot"):
            with EchoClient(url, f"{kind} push") as client:
                assert client.exchange(push_request(["a"], np.ones((1, 3), np.float32))).num_rows == 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_redis_holds_the_same_rows_by_either_parser(weight):
    names = string_keys(ROWS)
    with carls.connect() as bank, redis_server.redis_process() as port:
        table = bank.embeddings("t", dim=DIM)
        fill(table, names, weight)
        expected = {
            "hiredis": ("_HiredisParser", "HiredisRespSerializer"),
            "Python parser": ("_RESP2Parser", "PythonRespSerializer"),
        }
        for name, connection in redis_server.CONNECTIONS.items():
            store = redis_server.RedisRows(port, DIM, connection)
            assert store.used() == expected[name]
            for write in (store.assign_by_set, store.assign_by_mset):
                store.client.flushall()
                write(names, weight)
                np.testing.assert_array_equal(store.lookup(names), table.lookup(names).values)
            store.close()


def test_a_missing_redis_server_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"apt-get install .* redis-server` as root"):
        redis_server.server_program()


@pytest.mark.parametrize("then", ["exit 1", "exec sleep 60"])
def test_a_server_that_is_not_ready_in_time_is_ended_and_says_what_it_wrote(then, tmp_path):
    command = ["sh", "-c", f"echo $$ > {tmp_path}/pid; echo half; echo wrong >&2; {then}"]
    with pytest.raises(UnavailableError, match="half\nwrong"):
        with serving(command, re.compile(rb"(ready)"), start_timeout_s=1.0):
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_trainers_start_alike_and_learn_alike(weight):
    batches = Batches.of(picks(batches=1))
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=DIM, optimizer=carls.Adagrad(lr=0.05))
        fill(table, np.arange(ROWS), weight)
        ours, local = BankTrainer(table, ROWS, 4, batches), LocalTrainer(weight, 4, batches)
        for trainer in (ours, local):
            trainer.step(0)  # nothing was fetched ahead: the same step exactly
            trainer.finish()
        rows = torch.from_numpy(table.lookup(np.arange(ROWS)).values.copy())
    torch.testing.assert_close(rows, local.embedding.weight.detach(), rtol=1e-4, atol=1e-5)
    for mine, its in zip(ours.network.parameters(), local.network.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)


def test_staleness_counts_what_was_missed():
    with carls.connect() as bank:
        table = bank.embeddings("t", dim=2, optimizer=carls.Adagrad())
        fill(table, np.arange(5), weights(5, 2))
        staleness, ones = Staleness(5), np.ones((2, 2), np.float32)
        ahead = table.lookup([0, 1])
        staleness.add(0, np.array([0, 1]), ahead)
        table.push_gradients([0, 1], ones, step=0)
        staleness.add(1, np.array([0, 1]), ahead)  # read before the push
        table.push_gradients([0, 1], ones, step=1)
        staleness.add(7, np.array([1, 2]), table.lookup([1, 2]))
    assert [missed.tolist() for missed in staleness.missed] == [[0, 0], [1, 1], [0, 0]]
    assert [ages.tolist() for ages in staleness.ages] == [[], [], [6]]


def test_power_law_has_its_exponent_and_uniform_is_flat():
    rows = 50
    shares = {}
    for kind in Distribution:
        drawn = np.concatenate(kind.draw(rows, 1000, 200))
        assert 0 <= drawn.min() <= drawn.max() < rows
        counts = Counter(drawn.tolist())
        shares[kind] = np.array([n for _, n in counts.most_common()]) / len(drawn)
        assert all((a == b).all() for a, b in zip(kind.draw(rows, 7), kind.draw(rows, 7), strict=True))
        order = [row for row, _ in counts.most_common()]
        assert order != sorted(order)
    expected = np.arange(1, rows + 1) ** -EXPONENT
    np.testing.assert_allclose(shares[Distribution.POWER_LAW], expected / expected.sum(), rtol=0.1)
    np.testing.assert_allclose(shares[Distribution.UNIFORM], 1 / rows, rtol=0.1)


def test_choices_go_before_the_plan():
    full = Plan(tuple(Distribution), (1024, 1), (64,), 10_000, 400)
    assert Plan.of(full, quick=False, keys=None, batch=[8], rows=None) == Plan(
        tuple(Distribution), (8,), (64,), 10_000, 400
    )
    quick = Plan.of(full, quick=True, rows=30, batch=None)
    assert (quick.rows, quick.calls, quick.keys) == (30, 20, tuple(Distribution))
    assert all(size < 100 for size in quick.batch)


def test_memories_find_and_become_the_same():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(20, gaussian_memory.BUFFER, 6)).astype(np.float32)
    points += 3 * draw.normal(size=(20, 1, 6)).astype(np.float32)
    with carls.connect() as bank:
        memory = gaussian_memory.filled(bank, "squared_l2", points)
        plain = gaussian_memory.NumpyMemory(points.copy(), np.zeros(20, np.int64))
        for _ in range(3):
            x = (3 * draw.normal(size=(50, 6))).astype(np.float32)
            np.testing.assert_allclose(memory.lookup(x).mean, plain.read(x), rtol=1e-5, atol=1e-5)
            found = memory.lookup(x)
            np.testing.assert_allclose(plain.distances(x).min(axis=1), found.distance, rtol=1e-4, atol=1e-4)
            memory.lookup(x, "update")
            plain.update(x)
        kept = memory.export()["points"].reshape(points.shape)
        for mine, its in zip(kept, plain.buffers, strict=True):
            np.testing.assert_array_equal(np.sort(mine, axis=0), np.sort(its, axis=0))
