"""Strategies: with which probability a row is drawn as a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from carls.specs.policies import Policy, resolve

#: A count has 32 bits: its power must stay a number.
_MAX_ALPHA = 10.0


@dataclass(frozen=True)
class Strategy(Policy):
    """Base of the strategies.

    Rank 0 is the row looked up for training most often, by its `count`; rows looked up as often are in the
    order of their keys' hashes, which is the same in every bank.
    """

    @staticmethod
    def of(value: Any) -> Strategy:
        """The strategy itself, or the one named or described by `value`."""
        return resolve(value, Strategy, _CHOICES)


@dataclass(frozen=True)
class UniformSampling(Strategy):
    """All rows alike."""

    name: ClassVar[str] = "uniform"


@dataclass(frozen=True)
class LogUniform(Strategy):
    """P(rank r) = log((r + 2) / (r + 1)) / log(N + 1), of N rows: what suits a vocabulary whose words follow
    Zipf's law. The rank is the true one, by counts, not the order in which keys came."""

    name: ClassVar[str] = "log_uniform"


@dataclass(frozen=True)
class Frequency(Strategy):
    """P in proportion to count ** alpha, where a row that nobody has looked up counts as looked up once.

    Source of the default: Mikolov et al., "Distributed representations of words and phrases and their
    compositionality", NeurIPS 2013.

    Attributes:
        alpha: 0 (all rows alike) to 10.
    """

    name: ClassVar[str] = "frequency"
    alpha: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.alpha <= _MAX_ALPHA, "alpha", f"0 <= alpha <= {_MAX_ALPHA:g}")


_CHOICES: dict[str, type[Strategy]] = {
    policy.name: policy for policy in (UniformSampling, LogUniform, Frequency)
}
