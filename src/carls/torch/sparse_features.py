"""SparseFeatureEmbedding: named bags of keys as one vector, by context-aware rows in a bank."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, cast

import torch
from torch import nn

from carls.client import EmbeddingTable
from carls.errors import InvalidSpecError, InvalidValueError
from carls.torch.bags import Bags
from carls.torch.batch import Key
from carls.torch.embedding import DynamicEmbedding
from carls.torch.transfer import to_device


class SparseFeature(nn.Module):
    """One feature of a `SparseFeatureEmbedding`, which makes it.

    Attributes:
        embedding: `DynamicEmbedding` of its table, with `last_keys` and `last_rows`.
        sigma_dim: columns at the end of a row that give sigma.
        context_free: v_c, (emb_dim,) float32, at first from N(0, 0.05^2); None where sigma_dim is 0.
        theta: (sigma_dim,) float32, at first from N(0, 1), or None.
        beta: () float32, at first 0, or None.
    """

    def __init__(self, name: str, table: EmbeddingTable, sigma_dim: int, padding_key: Key | None) -> None:
        super().__init__()
        _require(
            isinstance(sigma_dim, Integral) and sigma_dim >= 0,
            f"sigma_dim={sigma_dim!r} of feature {name!r}: expected an integer >= 0",
        )
        if table.dim <= sigma_dim:
            raise InvalidSpecError(
                f"table {table.name!r} of dim {table.dim} for feature {name!r} with sigma_dim {sigma_dim}: "
                f"expected a dim above {sigma_dim}, emb_dim + sigma_dim",
                table=table.name,
            )
        self.embedding = DynamicEmbedding(table, padding_key=padding_key)
        self.sigma_dim = sigma_dim
        self.context_free: nn.Parameter | None = None
        self.theta: nn.Parameter | None = None
        self.beta: nn.Parameter | None = None
        if sigma_dim:
            self.context_free = nn.Parameter(0.05 * torch.randn(self.dim))
            self.theta = nn.Parameter(torch.randn(sigma_dim))
            self.beta = nn.Parameter(torch.zeros(()))

    @property
    def dim(self) -> int:
        """emb_dim: elements of the feature's vector."""
        return self.embedding.table.dim - self.sigma_dim

    def forward(self, bags: Bags, turn: str | None, device: torch.device) -> torch.Tensor:
        """(n, emb_dim) means over n bags; in the "embedding" or "sigma" `turn`, the other side stays."""
        if bags.distinct is None:
            return torch.zeros(bags.count, self.dim, device=device)
        self.embedding.device = device
        vectors = self._vectors(self.embedding(bags.distinct), turn)
        known = torch.ones(len(bags.distinct), device=device)
        if not self.training and self.embedding.last_rows is not None:
            known = to_device(self.embedding.last_rows.found, device).float()
        owner, place = to_device(bags.owner, device), to_device(bags.place, device)
        share = known[place]
        totals = vectors.new_zeros(bags.count, self.dim).index_add(0, owner, vectors[place] * share[:, None])
        sizes = share.new_zeros(bags.count).index_add(0, owner, share)
        return totals / sizes.clamp(min=1)[:, None]

    @torch.no_grad()
    def sigma(self, keys: Any) -> torch.Tensor:
        """sigma of n keys: (n,) float32 in (0, 1), NaN for keys without a row. Near 1 a key says nothing
        of its own. Nothing is created.

        Raises:
            InvalidValueError: the feature has no sigma.
        """
        if self.theta is None:
            raise InvalidValueError(f"table {self.embedding.table.name!r}: its feature has sigma_dim 0")
        rows = self.embedding.table.lookup(keys, create=False)
        values = to_device(rows.values, self.theta.device).float()
        missing = to_device(~rows.found, self.theta.device)
        return self._sigma(values[:, self.dim :]).masked_fill(missing, torch.nan)

    def _vectors(self, rows: torch.Tensor, turn: str | None) -> torch.Tensor:
        """emb of the keys with `rows` (k, emb_dim + sigma_dim): (k, emb_dim)."""
        if self.context_free is None:
            return rows
        own, shared = rows[:, : self.dim], cast("torch.Tensor", self.context_free).float()
        sigma = self._sigma(rows[:, self.dim :])[:, None]
        if turn == "embedding":
            sigma, shared = sigma.detach(), shared.detach()
        elif turn == "sigma":
            own = own.detach()
        return sigma * shared + (1 - sigma) * own

    def _sigma(self, weights: torch.Tensor) -> torch.Tensor:
        assert self.theta is not None
        assert self.beta is not None
        # Rows are float32, whatever the model is turned into.
        return torch.sigmoid(weights @ self.theta.float() + self.beta.float())


class SparseFeatureEmbedding(nn.Module):
    """Vectors of examples that are described by keys: words, tags, a brand, the films seen.

    Each feature has a name and a table. The row of a key x is [emb_i(x) | emb_s(x)], with `sigma_dim`
    elements in emb_s(x). A key may tell much, or as little as any other; sigma says which, and the less it
    tells the more it is replaced by a vector v_c that all keys of the feature share:

        emb(x)   = sigma(x) v_c + (1 - sigma(x)) emb_i(x)
        sigma(x) = 1 / (1 + exp(-(<theta, emb_s(x)> + beta)))
        emb(X)   = 1/|X| sum_{x in X} emb(x)     for a bag X; zeros for an empty one

    The vectors of several features are concatenated, in the order of `tables`. With `sigma_dim` 0 a row is
    emb_i(x) alone, and emb(X) the plain mean. v_c, theta and beta are parameters for the optimizer of the
    training loop; rows are trained by their table's optimizer: one push a feature and backward pass.

    With `em_steps` two sides are trained in turns of so many steps: first emb_i, while sigma (emb_s, theta,
    beta) and v_c stay; then those, while emb_i stays. In the bank, what stays gets gradients of zero, so use
    an optimizer without momentum or weight decay there, such as Adagrad, if it is to stay exactly.

    In eval mode nothing is created. Keys without a row are then left out of their bags, as the padding
    key always is; a bag of such keys alone is empty.

    Context-aware embeddings: X. Zeng, "Context Aware Machine Learning", arXiv 1901.03415; its equation 20
    sums over a bag where this takes the mean, so that bags of different sizes compare.

    Args:
        tables: name -> embedding table of dim emb_dim + sigma_dim, one for each feature.
        sigma_dim: columns at the end of each row that give sigma: a number for all features, or one by name.
        em_steps: steps of a turn; 0: everything is trained at once.
        padding_key: no key: "" or -1, say, to fill arrays up.
        device: where results go; by default where the parameters are (the CPU without any).

    Attributes:
        step: the trainer's step, stamped on pushes, and what tells whose turn it is; set it in the
            training loop.
        features: name -> `SparseFeature`, with its `embedding`, `context_free`, `theta`, `beta` and
            `sigma(keys)`.
    """

    def __init__(
        self,
        tables: Mapping[str, EmbeddingTable],
        *,
        sigma_dim: int | Mapping[str, int] = 0,
        em_steps: int = 0,
        padding_key: Key | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        _require(
            isinstance(tables, Mapping),
            f"tables of type {type(tables).__name__}: expected a mapping, a name to a table for each feature",
        )
        _require(len(tables) > 0, "no tables: expected a name and a table for each feature")
        _require(em_steps >= 0, f"em_steps={em_steps!r}: expected an integer >= 0")
        widths = sigma_dim if isinstance(sigma_dim, Mapping) else dict.fromkeys(tables, sigma_dim)
        _require(
            widths.keys() == tables.keys(),
            f"sigma_dim for the features {sorted(widths)}: expected {sorted(tables)}",
        )
        self.em_steps = em_steps
        self.padding_key = padding_key
        self.device = None if device is None else torch.device(device)
        self.step = -1
        self._names = list(tables)
        # Not by name: a ModuleDict refuses names such as "items".
        self._features = nn.ModuleList(
            SparseFeature(name, table, widths[name], padding_key) for name, table in tables.items()
        )

    @property
    def features(self) -> dict[str, SparseFeature]:
        """Name -> feature, in the order of the results' columns."""
        return dict(zip(self._names, cast("list[SparseFeature]", list(self._features)), strict=True))

    @property
    def dim(self) -> int:
        """Elements of a result: the features' emb_dims together."""
        return sum(feature.dim for feature in self.features.values())

    def forward(self, keys: Any) -> torch.Tensor:
        """(n, dim) float32 vectors of n examples.

        Args:
            keys: name -> keys for each of the features; of a single feature, the keys alone will do. Keys
                are n keys, or n bags: lists of any lengths, an integer tensor or array (n, k), or
                `carls.Ragged`.

        Raises:
            InvalidValueError: other features, of different lengths, or `em_steps` without a `step`.
            InvalidSpecError: in training mode, if a table has no optimizer.
        """
        if not isinstance(keys, Mapping):
            _require(
                len(self._names) == 1,
                f"keys of type {type(keys).__name__}: expected a mapping with the features {self._names}",
            )
            keys = {self._names[0]: keys}
        _require(
            keys.keys() == set(self._names),
            f"features {sorted(keys, key=str)}: expected {sorted(self._names)}",
        )
        turn = self._turn()
        bags = {name: Bags.of(keys[name], self.padding_key) for name in self._names}
        counts = {name: bag.count for name, bag in bags.items()}
        _require(len(set(counts.values())) == 1, f"features of different lengths: {counts}")
        device = self.device or next((p.device for p in self.parameters()), torch.device("cpu"))
        for feature in self.features.values():
            feature.embedding.step = self.step
        parts = [feature(bags[name], turn, device) for name, feature in self.features.items()]
        return torch.cat(parts, dim=1)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the bank has applied all gradients pushed so far.

        Raises:
            CarlsError: as by `DynamicEmbedding.flush`.
        """
        for feature in self.features.values():
            feature.embedding.flush(timeout_s=timeout_s)

    def extra_repr(self) -> str:
        return f"names={self._names}, dim={self.dim}, em_steps={self.em_steps}"

    def _turn(self) -> str | None:
        """Which side is trained now; None: both."""
        if not (self.em_steps and self.training and torch.is_grad_enabled()):
            return None
        _require(self.step >= 0, f"em_steps={self.em_steps} needs the trainer's step: set module.step")
        return "embedding" if self.step // self.em_steps % 2 == 0 else "sigma"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidValueError(message)
