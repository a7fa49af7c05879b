"""BankContrastiveLoss: two towers, compared with all items' embeddings in a bank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from carls.client import EmbeddingTable
from carls.errors import InvalidValueError
from carls.keys import Int64s, Keys
from carls.messages import Floats
from carls.torch.compared import Compared
from carls.torch.items import Items
from carls.torch.local_copy import LocalCopy
from carls.torch.negatives import Negatives
from carls.torch.stored_sides import OUT, Ages, StoredSides
from carls.torch.transfer import to_device

_POSITIVES = ("bank", "fresh")
#: Largest factor of cosines that a learnt temperature may come to, as in CLIP.
_LARGEST_SCALE = 100.0


@dataclass(frozen=True, eq=False)
class ContrastiveRead:
    """What a forward pass read from the local copy of the bank's rows, and what it made of it.

    Attributes:
        staleness: int64, (trainer step - row step) of each row of both tables that was compared with and
            whose writer said a step.
        masked: share of the rows of both tables left out because missing, never written or too old; 0
            to 1, and 1 before the first reading.
        weight: (2, n) float32, the share of the comparison with the bank in each example's loss, of the
            first tower's queries and of the second's; 0: compared within its batch alone.
    """

    staleness: Int64s
    masked: float
    weight: Floats


class BankContrastiveLoss(nn.Module):
    """Contrastive loss of two towers with negatives, and the positive, from a bank.

    Items have two views, say a text and an image, with a tower for each. For a batch of n items with the
    towers' outputs a_i and b_i, both divided by their lengths, and rows A_j and B_j of all N items in two
    tables, that a maker made with the towers of an earlier checkpoint (`carls.makers.TowerMaker`),

        bank(a_i)  = - log( exp(<a_i, B_i>/T) / (exp(<a_i, B_i>/T) + sum_j m_ij v_j exp(<a_i, B_j>/T)) )
        batch(a_i) = - log( exp(<a_i, b_i>/T) / sum_j m'_ij exp(<a_i, b_j>/T) )
        loss       = 1/2n sum_i [ u_i bank(a_i) + (1 - u_i) batch(a_i) ] + the same of b_i against a and A

    * m_ij is 0 where item j has the key or the group of item i, where its row was never written or is
      beyond the age bounds, and where `negatives` does not choose it; else 1. m' leaves out other items of
      the same key or group.
    * v_j = 2 ^ (-(step - row step) / half_life_steps): older rows count less; 1 without a half-life.
    * u_i = (1 - in_batch) * ramp * v_i while the gate is open, and 0 else and where the item's own row cannot
      be used. So until there are rows this is the loss within the batch, and it is so again if the
      bank loses them. The gate is open while at least `least_known` of the rows can be used, and
      ramp = min(1, (steps since it opened + 1) / ramp_steps).

    **The positive is scored from the same rows as the negatives.** Towers drift, so all rows of a checkpoint
    lie somewhat apart from what the towers give now. If the positive alone is fresh, that distance tells
    it from the negatives, and the towers learn to recognise freshness instead of items. Among rows of
    one age there is nothing to recognise. `positives="fresh"` is there to measure that
    (docs/multimodal.md).

    **Fresh and stored embeddings never meet in one softmax.** In-batch negatives come in by their own loss,
    with fresh positives, of share `in_batch`.

    Gradients go to a_i and b_i and to a learnt T; none to rows. With u = 1, bank(a_i) trains the first
    tower and bank(b_i) the second.

    The rows are read from a local copy, renewed in the background each time the tables' makers have
    announced another step, so that a step costs no call: it holds N rows of both tables. Where nobody
    announces, call `refresh` for a new reading. Rows of makers at work may be of several checkpoints.

    Stored negatives: K. He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR
    2020 (a queue, encoded slowly); X. Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020
    (embeddings of past batches, after a warm-up). Refreshed by makers: C.-T. Lu et al., "CARLS:
    Cross-platform Asynchronous Representation Learning System", arXiv 2105.12849. The symmetrical loss and
    the learnt temperature: A. Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision", ICML 2021.

    Args:
        first: embedding table with a row for each item, as wide as both towers' outputs: what the maker makes
            with the first tower.
        second: likewise with the second tower.
        keys: of the N items to compare with, all different; as for `carls.Keys.of`.
        groups: (N,) integers: items of one group are never each other's negatives, such as those with
            the same content; None: each item is its own.
        negatives: `WholeBank()`, `Hardest(k)`, `Sampled(n, seed)`, or the name of one: "whole_bank", ...
        in_batch: share of the loss within the batch, 0 to 1, beside an open gate.
        temperature: T, 1e-6 to 1e6, at least 0.01 where it is learnt; then it is where it starts from.
        learn_temperature: T = exp(-`log_scale`), a parameter of this module, kept from falling below 0.01.
        half_life_steps: above 0; None: rows count the same at any age.
        least_known: share of rows, 0 to 1, as above.
        ramp_steps: the comparison with the bank sets in over so many steps, >= 0; 0: at once.
        max_age_steps: rows made more than so many steps before `step` are left out; None: no bound.
        max_age_s: rows written more than so many seconds ago are left out; None: no bound.
        positives: "bank", or "fresh" to score <a_i, b_i> against stored negatives, which harms.

    Attributes:
        last_read: `ContrastiveRead` of the last `forward`, None before.

    Raises:
        InvalidValueError: an argument that cannot be.
    """

    def __init__(
        self,
        first: EmbeddingTable,
        second: EmbeddingTable,
        keys: Any,
        *,
        groups: Any = None,
        negatives: Negatives | str = "whole_bank",
        in_batch: float = 0.0,
        temperature: float = 0.07,
        learn_temperature: bool = False,
        half_life_steps: float | None = None,
        least_known: float = 0.5,
        ramp_steps: int = 0,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
        positives: str = "bank",
    ) -> None:
        super().__init__()
        if first.dim != second.dim:
            raise InvalidValueError(
                f"tables {first.name!r} of dim {first.dim} and {second.name!r} of dim {second.dim}: expected "
                "one width, that of both towers"
            )
        _require_number("in_batch", in_batch, 0, 1)
        _require_number("least_known", least_known, 0, 1)
        least = 1 / _LARGEST_SCALE if learn_temperature else 1e-6
        _require_number("temperature", temperature, least, 1e6)
        if not (isinstance(ramp_steps, int) and ramp_steps >= 0):
            raise InvalidValueError(f"ramp_steps={ramp_steps!r}: expected an integer >= 0")
        if positives not in _POSITIVES:
            raise InvalidValueError(f"positives={positives!r}: expected one of {_POSITIVES}")
        self.first, self.second = first, second
        self.items = Items.of(keys, groups)
        self.negatives = Negatives.of(negatives)
        self.in_batch = in_batch
        self.ages = Ages(max_age_steps, max_age_s, half_life_steps)
        self.least_known = least_known
        self.ramp_steps = ramp_steps
        self.positives = positives
        self.last_read: ContrastiveRead | None = None
        self._learns = learn_temperature
        self.log_scale: torch.Tensor
        log_scale = torch.tensor(-math.log(temperature))
        if learn_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self._copy = LocalCopy((first, second), self.items.keys)
        self._sides: StoredSides | None = None
        self._opened: int | None = None

    @property
    def temperature(self) -> float:
        """T as it is now."""
        temperature = math.exp(-float(self.log_scale.detach()))
        return max(temperature, 1 / _LARGEST_SCALE) if self._learns else temperature

    def forward(self, first: torch.Tensor, second: torch.Tensor, keys: Any, *, step: int) -> torch.Tensor:
        """The loss, a float32 scalar on the outputs' device.

        Args:
            first: (n, dim) outputs of the first tower for n items; any lengths other than 0.
            second: (n, dim) of the second tower for the same items.
            keys: n keys of the items: integers (a tensor too), strings, bytes or `Keys`. One that is not
                among the N items is compared within its batch alone.
            step: the trainer's step, for ages, ramp and staleness.

        Raises:
            InvalidValueError: outputs of other shapes, or counts that do not fit.
            CarlsError: what went wrong with the reading in the background, once.
        """
        self._check(first, second)
        if len(first) == 0:
            return (first.sum() + second.sum()).float()  # 0 that can be trained on
        places, groups = self.items.find(_keys(keys), len(first))
        with torch.autocast(first.device.type, enabled=False):
            return self._loss(first, second, places, groups, step)

    def refresh(self, *, step: int, at_least: int = -1, timeout_s: float | None = None) -> None:
        """Read the rows now, in this thread, so that the next `forward` compares with them.

        Args:
            step: the trainer's.
            at_least: wait until the tables' makers have announced this step or later; nothing is read if
                the rows that are here were of that step. -1: read at once.
            timeout_s: longest wait, in seconds; default the bank's.

        Raises:
            DeadlineExceededError: no such announcement in time.
            BankRestartedError: as for the tables' own calls, once.
        """
        self._copy.refresh(step, at_least, timeout_s)

    def close(self) -> None:
        """End the background's thread, which it does within a second, and let go of the rows."""
        self._copy.close()
        self._sides = None

    def extra_repr(self) -> str:
        return (
            f"first={self.first.name!r}, second={self.second.name!r}, items={len(self.items.keys)}, "
            f"negatives={self.negatives!r}, in_batch={self.in_batch}, temperature={self.temperature:.4g}"
        )

    def __getstate__(self) -> dict[str, Any]:
        # The rows on the device are made again from the local copy, here or in another process.
        return {**self.__dict__, "_sides": None}

    def _loss(
        self, first: torch.Tensor, second: torch.Tensor, places: Int64s, groups: Int64s, step: int
    ) -> torch.Tensor:
        """The loss, in float32 also within autocast: exponentials over T in half precision are noise."""
        scale = self._scale()
        a, b = functional.normalize(first.float()), functional.normalize(second.float())
        sides = self._bank_sides(step, a.device)
        weights = self._weights(sides, places, step)
        self.last_read = _read(sides, weights, step)
        total = a.new_zeros(())
        if (weights < 1).any():
            rest = to_device(1 - weights, a.device)
            total = total + (rest * _within_batch(a, b, scale, groups)).sum()
        if sides is not None and weights.any():
            compared = Compared.of(places, self.items, self.negatives, step, a.device)
            fresh = (b, a) if self.positives == "fresh" else (None, None)
            losses = torch.stack(
                [
                    compared.losses(query * scale, side, positives)
                    for query, side, positives in zip((a, b), (sides.second, sides.first), fresh, strict=True)
                ]
            )
            total = total + (to_device(weights, a.device) * losses).sum()
        return total / (2 * len(first))

    def _scale(self) -> torch.Tensor:
        if self._learns:
            # What an optimizer took too far is brought back: a bound on the scale alone has no gradient.
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(_LARGEST_SCALE))
        return self.log_scale.exp()

    def _bank_sides(self, step: int, device: torch.device) -> StoredSides | None:
        """Both tables' rows with what may be used of them at `step`; None before there are any."""
        copied = self._copy.latest(step)
        if copied is None:
            self._sides = None
        elif self._sides is None or self._sides.copied is not copied or self._sides.device != device:
            self._sides = StoredSides(copied, device)
        return None if self._sides is None else self._sides.look(step, self.ages)

    def _weights(self, sides: StoredSides | None, places: Int64s, step: int) -> Floats:
        """u (2, n): of the first tower's queries, whose positives are rows of the second, and the reverse."""
        weights = np.zeros((2, len(places)), np.float32)
        if sides is None or sides.known.min() < self.least_known:
            self._opened = None
            return weights
        if self._opened is None or step < self._opened:
            self._opened = step
        ramp = min(1.0, (step - self._opened + 1) / self.ramp_steps) if self.ramp_steps else 1.0
        here = places >= 0
        for row, side in zip(weights, (sides.second, sides.first), strict=True):
            row[here] = (1 - self.in_batch) * ramp * side.weight[places[here]]
        return weights

    def _check(self, first: torch.Tensor, second: torch.Tensor) -> None:
        for name, outputs, table in (("first", first, self.first), ("second", second, self.second)):
            if outputs.ndim != 2 or outputs.shape[1] != table.dim:
                raise InvalidValueError(
                    f"{name} of shape {tuple(outputs.shape)}: expected (n, {table.dim}), the width of table "
                    f"{table.name!r}"
                )
        if len(first) != len(second) or first.device != second.device:
            raise InvalidValueError(
                f"first has {len(first)} rows on {first.device} and second {len(second)} on {second.device}: "
                "expected both towers' outputs for the same items, on one device"
            )


def _within_batch(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor, groups: Int64s) -> torch.Tensor:
    """(2, n) losses of a against b and of b against a; other items of one's group are left out."""
    scores = (a * scale) @ b.T
    same = groups[:, None] == groups
    np.fill_diagonal(same, False)
    if same.any():
        scores = scores.masked_fill(to_device(same, scores.device), OUT)
    own = scores.diagonal()
    return torch.stack([scores.logsumexp(dim=1) - own, scores.logsumexp(dim=0) - own])


def _read(sides: StoredSides | None, weights: Floats, step: int) -> ContrastiveRead:
    staleness = np.zeros(0, np.int64) if sides is None or not weights.any() else sides.staleness(step)
    return ContrastiveRead(staleness, 1.0 if sides is None else 1.0 - float(sides.known.mean()), weights)


def _keys(keys: Any) -> Keys:
    return Keys.of(keys.detach().cpu().numpy() if isinstance(keys, torch.Tensor) else keys)


def _require_number(name: str, value: Any, least: float, most: float) -> None:
    if not (isinstance(value, int | float) and least <= value <= most):
        raise InvalidValueError(f"{name}={value!r}: expected a number from {least:g} to {most:g}")
