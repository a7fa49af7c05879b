"""Curricula: what a trainer makes of what the bank knows about its labels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from carls.client import FeatureRows
from carls.keys import Int64s
from carls.messages import Bools, Floats
from carls.specs.policies import Policy, resolve


@dataclass(frozen=True)
class Curriculum(Policy):
    """Base of the curricula.

    Attributes:
        columns: that it needs of a feature table.
    """

    columns: ClassVar[tuple[str, ...]]

    @staticmethod
    def of(value: Any) -> Curriculum:
        """The curriculum itself, or the one named or described by `value`."""
        return resolve(value, Curriculum, _CHOICES)  # type: ignore[type-abstract]

    @abstractmethod
    def weigh(self, rows: FeatureRows, targets: Int64s) -> tuple[Floats, Int64s]:
        """Each example's weight and target.

        Args:
            rows: of n examples. What is made of rows that are not there is left out by the loss.
            targets: (n,) the labels that they were given.

        Returns:
            (n,) float32 weights from 0 to 1, and (n,) int64 targets.
        """

    def about(self, rows: FeatureRows, targets: Int64s) -> Bools:  # noqa: ARG002 - for others to use
        """(n,) bool: which rows can be used for examples with these targets."""
        return np.ones(len(rows), bool)


@dataclass(frozen=True)
class _Weighing(Curriculum):
    """Base of those that read what `LabelQualityMaker` writes, and keep the given labels."""

    def about(self, rows: FeatureRows, targets: Int64s) -> Bools:
        same: Bools = rows["given"] == targets
        return same


@dataclass(frozen=True)
class SoftWeights(_Weighing):
    """Weight `probability` ^ `power`: the less a label is believed, the less it counts.

    Reads tables of `LabelQualityMaker`. Power 0 is no curriculum.
    """

    name: ClassVar[str] = "soft_weights"
    columns: ClassVar[tuple[str, ...]] = ("given", "probability")
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.power >= 0, "power", "a number >= 0")

    def weigh(self, rows: FeatureRows, targets: Int64s) -> tuple[Floats, Int64s]:
        return np.clip(rows["probability"], 0, 1) ** np.float32(self.power), targets


@dataclass(frozen=True)
class Filter(_Weighing):
    """Weight 1 where `agreement` is at least `threshold`, else 0: what few checkpoints predict is out.

    Reads tables of `LabelQualityMaker`. As D. T. Nguyen et al., "SELF: Learning to Filter Noisy Labels
    with Self-Ensembling", ICLR 2020, do with the average prediction.
    """

    name: ClassVar[str] = "filter"
    columns: ClassVar[tuple[str, ...]] = ("given", "agreement")
    threshold: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.threshold <= 1, "threshold", "a number from 0 to 1")

    def weigh(self, rows: FeatureRows, targets: Int64s) -> tuple[Floats, Int64s]:
        return (rows["agreement"] >= np.float32(self.threshold)).astype(np.float32), targets


@dataclass(frozen=True)
class Relabel(Curriculum):
    """Target `label` where there is one (>= 0) with at least `threshold` confidence, else the given one.

    Reads tables of `LabelMaker`. All weights are 1. As S. Reed et al., "Training Deep Neural
    Networks on Noisy Labels with Bootstrapping", ICLR 2015 workshop (hard bootstrapping), with
    predictions averaged over checkpoints.
    """

    name: ClassVar[str] = "relabel"
    columns: ClassVar[tuple[str, ...]] = ("label", "confidence")
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.threshold <= 1, "threshold", "a number from 0 to 1")

    def weigh(self, rows: FeatureRows, targets: Int64s) -> tuple[Floats, Int64s]:
        sure = (rows["confidence"] >= np.float32(self.threshold)) & (rows["label"] >= 0)
        return np.ones(len(rows), np.float32), np.where(sure, rows["label"], targets)


_CHOICES: dict[str, type[Curriculum]] = {policy.name: policy for policy in (SoftWeights, Filter, Relabel)}
