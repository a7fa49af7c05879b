"""DynamicEmbedding: an embedding layer whose rows live in a bank."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from carls.client import EmbeddingTable, Rows
from carls.errors import InvalidKeyError, InvalidValueError
from carls.keys import Keys
from carls.torch.batch import Key, KeyBatch
from carls.torch.rows import gather, gather_trained
from carls.torch.table_module import TableModule
from carls.torch.transfer import to_device, to_host


class DynamicEmbedding(TableModule):
    """Looks rows up by key and pushes their gradients back; the bank's table optimizes them.

    Unlike `nn.Embedding` it has no size and no parameters: a key that training meets for the
    first time gets a row, other processes may read and write the same rows, and the learning
    rate is that of the table's optimizer, not of the optimizer in the training loop.

    `forward(keys)` takes an integer tensor of any shape, a numpy array of integers or str, a
    (nested) list of int, str or bytes, or `carls.Keys`, and gives a float32 tensor, also from a
    float16 table, of shape `keys.shape + (dim,)`. Each distinct key is looked up once a call, so a
    row's `count` counts batches. The backward pass sums the gradients of equal keys and queues one
    push, which leaves in the background, in order. Pushes happen inside `backward()`: a scaled loss pushes
    scaled gradients, so do not train it under a gradient scaler.

    In eval mode nothing is created: missing rows are zeros, and `last_rows.found` tells them. In training
    mode, keys that a table with limits or admission refuses come with their initial value, `found` is
    False, and the bank drops their gradients and counts them.

    Args:
        table: handle of an embedding table. Without an optimizer it can only be read:
            in eval mode or under `torch.no_grad()`.
        padding_key: its places give zeros, get no gradient and never reach the bank.
        device: where results go; by default that of the keys (the CPU for lists).

    Attributes:
        step: the trainer's step, stamped on pushes; set it in the training loop (-1: not said).
        last_keys: the distinct keys of the last `forward`, None before and for padding alone.
        last_rows: their `carls.Rows` (values, found, step, version, ...), likewise.

    Raises:
        InvalidSpecError: by `forward` in training mode, if the table has no optimizer.
    """

    def __init__(
        self,
        table: EmbeddingTable,
        *,
        padding_key: Key | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(table)
        self.padding_key = padding_key
        self.device = None if device is None else torch.device(device)
        self.last_keys: Keys | None = None
        self.last_rows: Rows | None = None

    @classmethod
    def from_pretrained(
        cls,
        table: EmbeddingTable,
        keys: Any,
        matrix: Any,
        *,
        padding_key: Key | None = None,
        device: torch.device | str | None = None,
    ) -> DynamicEmbedding:
        """A module over `table` after writing row i of `matrix` under key i of `keys`.

        Args:
            table: handle of an embedding table; its other rows stay.
            keys: n keys, as for `carls.Keys.of`.
            matrix: (n, dim) floats: a tensor, such as `nn.Embedding(...).weight`, or an array.

        Raises:
            InvalidValueError: not of shape (n, dim).
        """
        encoded = Keys.of(keys.cpu().numpy() if isinstance(keys, torch.Tensor) else keys)
        values = to_host(matrix) if isinstance(matrix, torch.Tensor) else np.asarray(matrix, np.float32)
        if values.shape != (len(encoded), table.dim):
            raise InvalidValueError(
                f"matrix of shape {values.shape}: expected ({len(encoded)}, {table.dim}) for "
                f"{len(encoded)} keys and table {table.name!r}"
            )
        table.assign(encoded, values)
        return cls(table, padding_key=padding_key, device=device)

    def forward(self, keys: Any) -> torch.Tensor:
        """Rows of `keys`: (keys.shape + (dim,)) float32."""
        trains = self._trains()
        batch = KeyBatch.of(keys, self.padding_key)
        device = self.device or (keys.device if isinstance(keys, torch.Tensor) else torch.device("cpu"))
        self.last_keys, self.last_rows = batch.distinct, None
        if batch.distinct is None:
            return torch.zeros(*batch.shape, self.table.dim, device=device)
        self.last_rows = self.table.lookup(batch.distinct, create=self.training)
        values = to_device(self.last_rows.values, device).float()
        places = None if batch.plain else to_device(batch.positions, device)
        rows = gather_trained(values, places, batch.distinct, self) if trains else gather(values, places)
        return rows.view(*batch.shape, self.table.dim)

    def prefetch(self, keys: Any) -> None:
        """Start the look-up of the next batch; `forward` with the same keys takes its result.

        Rows that are fetched ahead may miss the newest pushes.
        """
        batch = KeyBatch.of(keys, self.padding_key)
        if batch.distinct is not None:
            self.table.prefetch(batch.distinct, create=self.training)

    def to_embedding(self, keys: Any) -> nn.Embedding:
        """An `nn.Embedding` with the rows of `keys` (n keys, distinct) in that order.

        The padding key, if among them, becomes its `padding_idx`, a row of zeros.

        Raises:
            InvalidKeyError: a key is given twice or has no row.
        """
        batch = KeyBatch.of(keys, self.padding_key)
        distinct = 0 if batch.distinct is None else len(batch.distinct)
        padding = np.flatnonzero(batch.positions == distinct)
        if len(batch.shape) != 1 or len(padding) > 1 or distinct + len(padding) != len(batch.positions):
            raise InvalidKeyError("keys of an nn.Embedding: expected one dimension and each key once")
        weight = np.zeros((len(batch.positions), self.table.dim), np.float32)
        if batch.distinct is not None:
            rows = self.table.lookup(batch.distinct, create=False)
            missing = np.flatnonzero(~rows.found)
            if len(missing):
                raise InvalidKeyError(
                    f"{len(missing)} of {distinct} keys have no row in table {self.table.name!r}, such as "
                    f"{batch.distinct[int(missing[0])]!r}: leave them out, or train them first",
                    table=self.table.name,
                )
            weight[batch.positions < distinct] = rows.values
        index = int(padding[0]) if len(padding) else None
        return nn.Embedding(*weight.shape, padding_idx=index, _weight=torch.from_numpy(weight))

    def extra_repr(self) -> str:
        padding = "" if self.padding_key is None else f", padding_key={self.padding_key!r}"
        return f"table={self.table.name!r}, dim={self.table.dim}, bank={self.table.bank.url!r}{padding}"
