"""DynamicEmbedding and table handles on their way to other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

import carls
from carls.errors import ForkedError
from carls.service import BankProcess
from carls.torch import BankContrastiveLoss, DynamicEmbedding
from carls.torch.local_copy import LocalCopy

DIM = 5


@pytest.fixture(scope="module")
def server():
    with BankProcess() as process:
        yield process


def test_module_on_a_server_is_copied_and_pickled(server):
    with carls.connect(server.url) as bank:
        module = DynamicEmbedding(bank.embeddings("pickle", dim=DIM, optimizer="sgd"))
        rows = module(["a", "b"]).detach()
        clone = pickle.loads(pickle.dumps(module))
        torch.testing.assert_close(clone(["a", "b"]).detach(), rows)
        clone.table.bank.close()
        assert copy.copy(module).table is module.table


def test_a_contrastive_loss_that_has_read_rows_is_pickled_and_reads_anew(server):
    with carls.connect(server.url) as bank:
        tables = [bank.embeddings(f"pickle.{side}", dim=DIM, keys="int64") for side in "ab"]
        for seed, table in enumerate(tables):
            rows = np.random.default_rng(seed).normal(size=(8, DIM)).astype(np.float32)
            table.assign(np.arange(8), rows, step=3)
        outputs = [torch.randn(2, DIM), torch.randn(2, DIM)]
        module = BankContrastiveLoss(*tables, np.arange(8))
        module.refresh(step=3)
        expected = module(*outputs, [1, 2], step=3)
        clone = pickle.loads(pickle.dumps(module))
        clone.refresh(step=3)
        torch.testing.assert_close(clone(*outputs, [1, 2], step=3), expected)
        for one in (module, clone):
            one.close()
        clone.first.bank.close()


def test_a_local_copy_in_a_forked_process_names_the_remedy():
    with carls.connect() as bank:
        table = bank.embeddings("rows", dim=DIM, keys="int64")
        table.assign([1], np.ones((1, DIM), np.float32), step=0)
        copied = LocalCopy([table], carls.Keys.of([1]))
        copied.refresh(step=0)
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=_latest, args=(copied, theirs))
        child.start()
        theirs.close()
        assert ours.poll(30)
        assert "spawn" in ours.recv()
        child.join(30)
        assert child.exitcode == 0
        assert copied.latest(0) is not None
        copied.close()


def _latest(copied, pipe):
    try:
        copied.latest(0)
        pipe.send("rows")
    except ForkedError as error:
        pipe.send(str(error))


class _Lookups(torch.utils.data.Dataset):
    def __init__(self, table):
        self.table = table

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.from_numpy(self.table.lookup([index]).values.copy())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_with_workers_works_or_names_the_remedy(server, method):
    with carls.connect(server.url, timeout_s=60.0) as bank:
        table = bank.embeddings("loader", dim=DIM, keys="int64")
        expected = table.lookup(np.arange(4)).values
        loader = torch.utils.data.DataLoader(
            _Lookups(table), num_workers=2, multiprocessing_context=method, timeout=60
        )
        if method == "fork":
            with pytest.raises(ForkedError, match="spawn"):
                list(loader)
        else:
            np.testing.assert_array_equal(torch.cat(list(loader))[:, 0].numpy(), expected)
