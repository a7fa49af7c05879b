"""DynamicEmbedding and table handles on their way to other processes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import carls
from carls.errors import ForkedError
from carls.service import BankProcess
from carls.torch import DynamicEmbedding

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
