"""The settings of the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carls.specs import Regularizer, Sum

#: What may couple the schools, and the weights to choose from. The little ridge keeps the mean model from
#: being free: without it no duality gap gets small, and a fit takes 60 times the rounds to a gap of 1e-4.
COUPLINGS: Mapping[str, tuple[Any, tuple[float, ...]]] = {
    "mean": (Sum([(1.0, "mean"), (0.01, "ridge")]), (3, 5, 10, 20, 50, 100)),
    "nuclear": ("nuclear", (100, 200, 300, 500, 1000)),
    "l21": ("l21", (30, 50, 100, 200, 300)),
}
#: For fits of a school alone and of all pupils as of one school.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


@dataclass(frozen=True)
class SchoolRecipe:
    """Settings of one run of the demo.

    Attributes:
        schools: how many, the first ones.
        share: of each school's pupils that models are fitted to, 0 to 1.
        folds: of the cross-validation within that part.
        goal: largest relative gap, that of the objective and that of the certificate.
        processes: that the schools are spread over.
        delay_s: mean of the network's delays between a pull and the arrival of its push, in seconds;
            they are exponential.
        longest_s: after which a run is given up, in seconds.
    """

    schools: int = 139
    share: float = 0.75
    folds: int = 5
    goal: float = 1e-3
    processes: int = 4
    delay_s: float = 0.25
    longest_s: float = 60.0


#: Shows that it runs.
QUICK = SchoolRecipe(schools=8, folds=2, goal=1e-2, processes=2, delay_s=0.01, longest_s=20.0)


def coupling(name: str) -> Regularizer:
    """The regularizer of that name."""
    return Regularizer.of(COUPLINGS[name][0])
