"""SampledSoftmaxLoss and SampledSigmoidLoss: output layers whose class rows live in a bank."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from carls.client import EmbeddingTable, Rows, Samples
from carls.errors import InvalidValueError
from carls.keys import Keys
from carls.torch.bags import Bags
from carls.torch.batch import Key
from carls.torch.candidates import Candidates
from carls.torch.rows import gather_trained
from carls.torch.table_module import TableModule
from carls.torch.transfer import to_device

_REDUCTIONS = ("mean", "sum", "none")


class SampledLoss(TableModule, ABC):
    """What both losses share: candidates from the bank, their logits, and the push of their gradients.

    A class y is a row r_y of the table, and its logit for a query q is

        F(q, y) = <q, r_y> / temperature                       plain
        F(q, y) = <q / |q|, r_y / |r_y|> / temperature         with `normalize`
        F(q, y) = <q, r_y[:-1]> / temperature + r_y[-1]        with `bias`, the last column of the row

    The loss of an example is over its positives T and sampled classes S, with each logit corrected for
    how often the sampling strategy gives the class, the positives' too:

        G(q, y) = F(q, y) - log E(y),   E(y): how often y is expected among the sampled

    Sampled classes that are among the example's own positives (accidental hits) are left out. Where a
    draw has a class twice (`unique=False`), it counts twice.

    Args:
        table: handle of an embedding table with a row for each class, as wide as the queries; one column
            wider with `bias`.
        num_sampled: classes drawn, at least 1. More than there are rows are refused if `unique`.
        strategy: how the bank draws them: a name or a policy, as for `table.sample`.
        unique: draw each class at most once.
        shared: one draw for the whole batch, which costs one matrix product. False: a draw for each example;
            one with fewer positives than another gets as many more sampled.
        in_batch: the positives of all examples count as sampled too, as so many draws more of the
            strategy, which should follow the data for that: `carls.Frequency(alpha=1)`. Only with `shared`.
        bias: the last column of a row is its class's bias.
        normalize: compare directions only.
        temperature: divides the products, above 0.
        padding_key: positives that equal it are left out.
        reduction: "mean" over the examples that have a positive, "sum", or "none".
        seed: of the draws, from 0 on; None: chance. Equal seeds give equal draws from equal tables.

    Attributes:
        step: the trainer's step, stamped on pushes; set it in the training loop (-1: not said).
        last_keys: the distinct positives of the last `forward`, None before and where there was none.
        last_rows: their `carls.Rows`; those not `found` were left out.
        last_samples: what the bank drew for them, as `carls.Samples`.
    """

    def __init__(
        self,
        table: EmbeddingTable,
        *,
        num_sampled: int,
        strategy: Any = "log_uniform",
        unique: bool = True,
        shared: bool = True,
        in_batch: bool = False,
        bias: bool = False,
        normalize: bool = False,
        temperature: float = 1.0,
        padding_key: Key | None = None,
        reduction: str = "mean",
        seed: int | None = None,
    ) -> None:
        super().__init__(table)
        _require(
            isinstance(num_sampled, Integral) and num_sampled >= 1,
            f"num_sampled={num_sampled!r}: expected an integer >= 1",
        )
        _require(shared or not in_batch, "in_batch=True needs shared=True: all examples see the same classes")
        _require(
            not (bias and normalize), "bias=True with normalize=True: a direction has no bias; choose one"
        )
        _require(
            isinstance(temperature, Real) and 0 < temperature < np.inf,
            f"temperature={temperature!r}: expected a finite number > 0",
        )
        _require(reduction in _REDUCTIONS, f"reduction={reduction!r}: expected one of {_REDUCTIONS}")
        _require(not bias or table.dim > 1, f"bias=True needs a table of dim 2 or more, not {table.dim}")
        self.num_sampled = num_sampled
        self.strategy = strategy
        self.unique = unique
        self.shared = shared
        self.in_batch = in_batch
        self.bias = bias
        self.normalize = normalize
        self.temperature = temperature
        self.padding_key = padding_key
        self.reduction = reduction
        self.last_keys: Keys | None = None
        self.last_rows: Rows | None = None
        self.last_samples: Samples | None = None
        self.seed = seed
        self._draws = 0

    def get_extra_state(self) -> dict[str, Any]:
        """Where the rows are, and how many draws the seed has given: a loaded loss goes on with the next."""
        return super().get_extra_state() | {"draws": self._draws}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """As of all modules over a table, and go on with the seed's draws."""
        super().set_extra_state(state)
        self._draws = int(state.get("draws", 0))

    @property
    def dim(self) -> int:
        """Elements of a query."""
        return self.table.dim - self.bias

    def forward(self, queries: torch.Tensor, positives: Any) -> torch.Tensor:
        """The loss, float32 on the queries' device: a scalar, or (b,) with reduction "none".

        In training mode the backward pass sends the gradients of all rows, positives and sampled, as one
        push, and unknown positives get a row. In eval mode nothing is created or pushed. Positives without a
        row, also those that a table with limits refuses, are left out. An example without a positive adds 0
        and does not count in the mean.

        Args:
            queries: (b, dim) floats.
            positives: b keys, or b lists of keys of any lengths, or an integer tensor (b,) or (b, k), an
                array, or `carls.Ragged`. A key counts once in an example.

        Raises:
            InvalidValueError: queries of another width, or another number of positives.
            InvalidSpecError: in training mode, if the table has no optimizer.
            InvalidRequestError: the table has fewer rows than are to be drawn.
        """
        trains = self._trains()
        self._check(queries)
        bags = Bags.of(positives, self.padding_key).as_sets()
        if bags.count != len(queries):
            raise InvalidValueError(f"positives of {bags.count} examples for {len(queries)} queries")
        queries = queries.float()
        self.last_keys, self.last_rows, self.last_samples = bags.distinct, None, None
        if bags.distinct is not None:
            self.last_rows = self.table.lookup(bags.distinct, create=self.training)
            bags = bags.only(self.last_rows.found)
        if bags.distinct is None:
            return self._reduce(queries.sum(dim=1) * 0, bags)
        drawn = self._draw(bags)
        device = queries.device
        rows = to_device(drawn.values, device).float()
        if trains:
            rows = gather_trained(rows, None, drawn.keys, self)
        positive, sampled = self._corrected(queries, rows, drawn, bags)
        return self._reduce(self._losses(positive, sampled, bags), bags)

    def logits(self, queries: torch.Tensor, keys: Any) -> torch.Tensor:
        """F of all pairs: (b, k) float32, for ranking k classes; -inf for keys without a row.

        Nothing is created, and no gradient goes to the rows.
        """
        self._check(queries)
        rows = self.table.lookup(keys, create=False)
        values = to_device(rows.values, queries.device).float()
        inputs, classes, biases = self._sides(queries.float(), values)
        missing = to_device(~rows.found, queries.device)
        return (inputs @ classes.T + biases).masked_fill(missing, -torch.inf)

    def extra_repr(self) -> str:
        return (
            f"table={self.table.name!r}, dim={self.dim}, num_sampled={self.num_sampled}, "
            f"strategy={self.strategy!r}, unique={self.unique}, shared={self.shared}"
        )

    @abstractmethod
    def _losses(self, positive: torch.Tensor, sampled: torch.Tensor, bags: Bags) -> torch.Tensor:
        """(b,) losses of examples from the G of their m positives (m,) and of the sampled
        (b, s), -inf for those left out. What it gives for examples without a positive is not used."""

    def _draw(self, bags: Bags) -> Candidates:
        """Let the bank draw beside the positives."""
        assert bags.distinct is not None
        if self.shared:
            positives, front = [bags.distinct], len(bags.distinct)
        else:
            positives, front = bags.lists(), int(bags.sizes.max())
        self.last_samples = self.table.sample(
            front + self.num_sampled,
            strategy=self.strategy,
            positives=positives,
            unique=self.unique,
            hits=True,
            seed=None if self.seed is None else (self.seed, self._draws),
        )
        self._draws += 1
        drawn = Candidates.of(self.last_samples, bags, self.shared)
        return drawn.with_batch() if self.in_batch else drawn

    def _corrected(
        self, queries: torch.Tensor, rows: torch.Tensor, drawn: Candidates, bags: Bags
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """G of the positives (m,), and of the sampled (b, s), -inf for accidental hits."""
        device = queries.device
        inputs, classes, biases = self._sides(queries, rows)
        place = to_device(drawn.positive_place, device)
        positive = (inputs[to_device(bags.owner, device)] * classes[place]).sum(dim=1) + biases[place]
        place = to_device(drawn.sampled_place, device)
        sampled = _products(inputs, classes[place]) + biases[place]
        positive = positive - to_device(drawn.positive_log_count, device)
        sampled = sampled - to_device(drawn.sampled_log_count, device)
        return positive, sampled.masked_fill(to_device(drawn.hits(bags), device), -torch.inf)

    def _check(self, queries: Any) -> None:
        _require(
            isinstance(queries, torch.Tensor),
            f"queries of type {type(queries).__name__}: expected a tensor (b, {self.dim})",
        )
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            biases = ", the last column of which are biases" if self.bias else ""
            raise InvalidValueError(
                f"queries of shape {tuple(queries.shape)}: expected (b, {self.dim}) for table "
                f"{self.table.name!r} of dim {self.table.dim}{biases}"
            )

    def _sides(
        self, queries: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (b, dim), classes (k, dim) and biases (k,) such that F = queries @ classes.T + biases."""
        biases = rows[:, -1] if self.bias else rows.new_zeros(len(rows))
        classes = rows[:, :-1] if self.bias else rows
        if self.normalize:
            queries, classes = functional.normalize(queries), functional.normalize(classes)
        return queries / self.temperature, classes, biases

    def _reduce(self, losses: torch.Tensor, bags: Bags) -> torch.Tensor:
        counts = bags.sizes > 0
        losses = losses * to_device(counts, losses.device)
        if self.reduction == "none":
            return losses
        return losses.sum() / (max(1, int(counts.sum())) if self.reduction == "mean" else 1)


class SampledSoftmaxLoss(SampledLoss):
    """Cross entropy over a sample of the classes, for class rows that live in a bank.

    For an example with positives T and sampled classes S, and G as below,

        loss = - 1/|T| sum_{y in T} log( exp G(q, y) / sum_{c in T + S - hits} exp G(q, c) )

    which is the cross entropy of the full softmax, with the target 1/|T| on each positive, once all classes
    are sampled (`unique`, num_sampled = number of classes). With fewer, what it has its least expectation at
    is F(q, y) = log P(y | q) + a constant of q. Rank with `logits`, which is F.

    Sampled softmax as TensorFlow defines it ("Candidate Sampling Algorithms Reference"), after S. Jean,
    K. Cho, R. Memisevic, Y. Bengio, "On Using Very Large Target Vocabulary for Neural Machine Translation",
    ACL 2015. Positives of the batch with the correction: X. Yi et al., "Sampling-Bias-Corrected Neural
    Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """

    def _losses(self, positive: torch.Tensor, sampled: torch.Tensor, bags: Bags) -> torch.Tensor:
        sizes, device = bags.sizes, positive.device
        owner, rank = to_device(bags.owner, device), to_device(bags.rank, device)
        own = positive.new_full((bags.count, int(sizes.max())), -torch.inf).index_put((owner, rank), positive)
        shares = functional.log_softmax(torch.cat([own, sampled], dim=1), dim=1)[owner, rank]
        weights = to_device((1.0 / sizes[bags.owner]).astype(np.float32), device)
        return shares.new_zeros(bags.count).index_add(0, owner, -shares * weights)


class SampledSigmoidLoss(SampledLoss):
    """Logistic loss of the positives against a sample of the classes, for class rows that live in a bank.

    For an example with positives T and sampled classes S, and G as below,

        loss = sum_{y in T} log(1 + exp(-G(q, y))) + sum_{c in S - hits} log(1 + exp G(q, c))

    which is a yes or no for each class: with all classes sampled it is the sum of their binary cross
    entropies. It is the sampled logistic loss of TensorFlow's "Candidate Sampling Algorithms Reference".
    """

    def _losses(self, positive: torch.Tensor, sampled: torch.Tensor, bags: Bags) -> torch.Tensor:
        owner = to_device(bags.owner, positive.device)
        return functional.softplus(sampled).sum(dim=1).index_add(0, owner, functional.softplus(-positive))


def _products(inputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(b, s) products of inputs (b, dim) with classes (1, s, dim), the same for all, or (b, s, dim)."""
    if len(classes) == 1:
        return inputs @ classes[0].T
    return (classes @ inputs[:, :, None]).squeeze(2)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidValueError(message)
