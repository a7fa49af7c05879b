"""CurriculumLoss: labels count for as much as the bank says that they can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from carls.client import FeatureRows, FeatureTable
from carls.client.arguments import age_bound
from carls.client.prefetch import Prefetched
from carls.errors import InvalidSpecError, InvalidValueError
from carls.keys import Int64s, Keys
from carls.messages import AgeBound, Floats
from carls.torch.curricula import Curriculum
from carls.torch.transfer import to_device

#: From (n, ...) outputs and (n,) targets to (n,) losses.
ExampleLoss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class CurriculumRead:
    """What a forward pass read from the bank, and what it made of it.

    Attributes:
        staleness: int64, (trainer step - row step) of each used row whose writer said a step.
        unknown: share of examples without a row that could be used; 0 to 1.
        weight: (n,) float32, by how much each example counted; 1 where unknown.
        relabelled: share of examples with another target than the given one; 0 to 1.
    """

    staleness: Int64s
    unknown: float
    weight: Floats
    relabelled: float


class CurriculumLoss(nn.Module):
    """A classification loss of which each example gets the share that the bank says.

    With example losses l(f_i, y_i) of n examples, weights w_i and targets t_i of the curriculum,

        loss = 1/n * sum_i  [ (1 - s) l(f_i, y_i) + s w_i l(f_i, t_i) ]

    where s = strength(step) is 0 for `warmup_steps`, in which the bank is not asked at all, and
    then grows linearly to 1 over `ramp_steps`. Before a network has learnt anything, what it thinks of
    labels says nothing.

    **Unknown examples count as they are**, w_i = 1 and t_i = y_i: those without a row, with one that
    nobody has written, that is older than asked, or that is about another label than y_i. So a bank
    that loses its rows turns this into the plain loss. `last_read.unknown` tells their share.

    **The sum is divided by n, not by the weights' sum.** A batch whose weights are all 0 then has
    the loss 0, which can be trained on and changes nothing, and a batch of distrusted labels counts for
    little instead of being scaled up. Weights that are small throughout make small gradients, which
    matters to SGD's learning rate and not to Adam's.

    No gradient goes to weights and targets.

    Args:
        rows: feature table of a `LabelQualityMaker` or a `LabelMaker`, as the curriculum needs it.
        curriculum: a `Curriculum` or its name: "soft_weights", "filter", "relabel".
        loss: gives the (n,) losses of n examples; default cross entropy of logits. For others, such as
            `nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")`, leave them unreduced.
        warmup_steps: the plain loss for so many steps, >= 0.
        ramp_steps: then the curriculum sets in over so many steps, >= 0; 0: at once.
        max_age_steps: rows made more than so many steps before `step` are unknown; None: no bound.
        max_age_s: rows written more than so many seconds ago are unknown; None: no bound.

    Attributes:
        last_read: `CurriculumRead` of the last `forward`; None before, in the warm-up, and of
            an empty batch.

    Raises:
        InvalidSpecError: a curriculum that is none, or a table without the columns that it needs.
        InvalidValueError: a number that cannot be.
    """

    def __init__(
        self,
        rows: FeatureTable,
        curriculum: Curriculum | str = "soft_weights",
        *,
        loss: ExampleLoss | None = None,
        warmup_steps: int = 0,
        ramp_steps: int = 0,
        max_age_steps: int | None = None,
        max_age_s: float | None = None,
    ) -> None:
        super().__init__()
        self.curriculum = Curriculum.of(curriculum)
        missing = set(self.curriculum.columns) - set(dict(rows.spec.columns))
        if missing:
            raise InvalidSpecError(
                f"table {rows.name!r} has no columns {sorted(missing)}: curriculum {self.curriculum.name!r} "
                f"needs {list(self.curriculum.columns)}",
                table=rows.name,
            )
        for name, value in (("warmup_steps", warmup_steps), ("ramp_steps", ramp_steps)):
            if not value >= 0:
                raise InvalidValueError(f"{name}={value!r}: expected an integer >= 0")
        self.rows = rows
        self.loss: ExampleLoss = loss or partial(functional.cross_entropy, reduction="none")
        self.warmup_steps = warmup_steps
        self.ramp_steps = ramp_steps
        self.max_age_steps = max_age_steps
        self.max_age_s = max_age_s
        self.last_read: CurriculumRead | None = None
        self._prefetched = Prefetched[FeatureRows]()
        self._bound(0)  # checks the bounds here, where they were given

    def strength(self, step: int) -> float:
        """s: how strongly the curriculum acts at `step`, 0 to 1."""
        beyond = step - self.warmup_steps
        if beyond < 0:
            return 0.0
        return 1.0 if beyond >= self.ramp_steps else beyond / self.ramp_steps

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor, keys: Any, *, step: int) -> torch.Tensor:
        """The loss, a scalar on the outputs' device.

        Args:
            outputs: (n, classes) logits, or what `loss` takes.
            targets: (n,) int64, the given labels.
            keys: n keys of the examples: integers (a tensor too), strings, bytes or `Keys`.
            step: the trainer's step, for the schedule, the age bound and the staleness.

        Raises:
            InvalidValueError: counts that do not fit, or a loss that is not per example.
        """
        if self.strength(step) == 0.0 or len(outputs) == 0:
            self.last_read = None
            return self._mean(self._losses(outputs, targets))
        batch = _keys(keys)
        if not len(outputs) == len(targets) == len(batch):
            raise InvalidValueError(
                f"{len(outputs)} outputs, {len(targets)} targets and {len(batch)} keys: expected one count"
            )
        given = targets.detach().cpu().numpy()
        weight, target = self._weigh(self._read(batch, step), given, step)
        losses = self._losses(outputs, targets)
        strength = self.strength(step)
        if np.array_equal(target, given):
            share = 1.0 - strength + strength * to_device(weight, outputs.device)
            return self._mean(share * losses)
        other = self._losses(outputs, to_device(target, targets.device))
        return self._mean((1.0 - strength) * losses + strength * to_device(weight, outputs.device) * other)

    def prefetch(self, keys: Any, *, step: int) -> None:
        """Start the look-up for the `forward` that will get these keys and this step.

        Its rows are those of now: makers' writes in between are missed. At most 8 are kept; the
        oldest that nobody took is dropped.
        """
        if self.strength(step) == 0.0:
            return
        batch, bound = _keys(keys), self._bound(step)
        self._prefetched.start((batch, False, bound), lambda _: self.rows.lookup_async(batch, *bound))

    def extra_repr(self) -> str:
        return (
            f"rows={self.rows.name!r}, curriculum={self.curriculum!r}, warmup_steps={self.warmup_steps}, "
            f"ramp_steps={self.ramp_steps}"
        )

    def _read(self, keys: Keys, step: int) -> FeatureRows:
        bound = self._bound(step)
        ahead = self._prefetched.take((keys, False, bound))
        if ahead is not None:
            # What was cancelled or comes too late is looked up again, with a deadline of its own.
            with suppress(CancelledError, FutureTimeoutError):
                return ahead.result(self.rows.bank.timeout_s)
        return self.rows.lookup(keys, *bound)

    def _weigh(self, rows: FeatureRows, given: Int64s, step: int) -> tuple[Floats, Int64s]:
        usable = rows.fresh & (rows.version > 0) & self.curriculum.about(rows, given)
        weight, target = self.curriculum.weigh(rows, given)
        weight = np.where(usable, weight, np.float32(1))
        target = np.where(usable, target, given).astype(np.int64)
        steps = rows.step[usable]
        self.last_read = CurriculumRead(
            staleness=step - steps[steps >= 0],
            unknown=float(1 - usable.mean()),
            weight=weight,
            relabelled=float((target != given).mean()),
        )
        return weight, target

    def _losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = self.loss(outputs, targets)
        if losses.shape != targets.shape:
            raise InvalidValueError(
                f"loss gave a tensor of shape {tuple(losses.shape)} for targets of shape "
                f'{tuple(targets.shape)}: expected one number for each, as with reduction="none"'
            )
        return losses

    def _mean(self, losses: torch.Tensor) -> torch.Tensor:
        return losses.sum() / max(len(losses), 1)

    def _bound(self, step: int) -> AgeBound:
        return age_bound(step, self.max_age_steps, self.max_age_s)


def _keys(keys: Any) -> Keys:
    return Keys.of(keys.detach().cpu().numpy() if isinstance(keys, torch.Tensor) else keys)
