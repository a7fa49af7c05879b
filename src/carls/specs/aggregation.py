"""Aggregation: how pushed gradients that wait for a row become one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from carls.specs.optimizers import Slot
from carls.specs.policies import Policy, resolve

#: What may be done with outliers.
_OUTLIERS = ("clip", "drop")


@dataclass(frozen=True)
class Aggregation(Policy):
    """Base of the policies that gather gradients before the optimizer sees them."""

    #: What is kept of each row behind its optimizer's state.
    slots: ClassVar[tuple[Slot, ...]] = ()

    @staticmethod
    def of(value: Any) -> Aggregation:
        """The policy itself, or the one named or described by `value`."""
        return resolve(value, Aggregation, _CHOICES)


@dataclass(frozen=True)
class Lazy(Aggregation):
    """Contributions wait, and are applied as their mean: one step of the optimizer, one version.

    A contribution is what one push has for one row, gradients of equal keys summed. Those that wait for a
    row are applied when it is looked up, scanned or exported, or assigned to; before the learning
    rate changes; when there are `max_pending` of them; and once the first of them has waited `max_delay_s`.
    Nobody sees a row without what waits for it, so its step, producer and age are those of its newest
    contribution.

    A row's norms have a mean: of all, up to the tenth contribution, then exponential with factor 0.9.
    A contribution whose L2 norm is above `outlier_factor` times the mean is an outlier: clipped to that
    norm, or dropped. While a row has had fewer than ten, its measure is the larger of its own mean and the
    table's, which has such a mean over pushes, of the average norm in each. In a table's first ten
    pushes nothing is an outlier. Means are fed at most the norm that may pass, whatever becomes of the
    contribution: one outlier raises a row's by a factor of at most 0.9 + 0.1 * outlier_factor, and where
    norms rise for good, it takes ln(rise / outlier_factor) / ln(0.9 + 0.1 * outlier_factor)
    contributions until they pass. Gradients of zeros are not counted there.

    Attributes:
        max_pending: contributions to a row that wait at most, 1 to 2**24; with 1 none waits, but
            outliers are found.
        max_delay_s: seconds that they wait at most, 0.001 to 1e8. A contribution that comes later begins
            a new mean. Later writes notice, each of which looks after up to 64 rows of every stripe
            that it goes to, and so does `statistics()`.
        outlier_factor: above 1.
        outliers: "clip" or "drop".
    """

    name: ClassVar[str] = "lazy"
    slots: ClassVar[tuple[Slot, ...]] = (
        Slot("mean norm", per_element=False),
        Slot("contributions", per_element=False),
    )
    max_pending: int = 64
    max_delay_s: float = 10.0
    outlier_factor: float = 10.0
    outliers: str = "clip"

    def __post_init__(self) -> None:
        super().__post_init__()
        pending = float(self.max_pending)
        self.require(
            pending.is_integer() and 1 <= pending <= 2**24, "max_pending", f"an integer from 1 to {2**24}"
        )
        object.__setattr__(self, "max_pending", int(pending))
        self.require(1e-3 <= self.max_delay_s <= 1e8, "max_delay_s", "0.001 <= max_delay_s <= 1e8")
        self.require(self.outlier_factor > 1, "outlier_factor", "a number above 1")
        self.require(self.outliers in _OUTLIERS, "outliers", f"one of {list(_OUTLIERS)}")


_CHOICES: dict[str, type[Aggregation]] = {Lazy.name: Lazy}
