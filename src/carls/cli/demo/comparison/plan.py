"""The plan of a comparison: which runs are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

#: The cases, the headline case first.
CASES = ("carls", "baseline", "synchronous")
#: The case that refreshes at every step; of it only the time to the goal is of interest.
EVERY_STEP = "synchronous, every step"
#: Drift limits of the sweep, in checkpoints; None: unbounded.
DRIFTS = (0, 1, 4, 16, None)


class Way(Enum):
    """Where a trainer gets what its makers know."""

    #: From nowhere.
    NONE = "none"
    #: From a bank; a maker works beside it.
    BANK = "bank"
    #: It lets the maker work inside itself, standing still meanwhile.
    INSIDE = "inside"

    @property
    def threads(self) -> int:
        """Threads that the maker may compute with: one while the trainer computes too."""
        return 2 if self is Way.INSIDE else 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Base of the settings of training runs.

    Attributes:
        refresh_steps: steps between two checkpoints from which knowledge is made.
        drift_checkpoints: the trainer waits when the bank's rows are older than so many
            checkpoints at a publication; None: never.
    """

    refresh_steps: int
    drift_checkpoints: int | None = 4


R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Job(Generic[R]):
    """One training run of the plan.

    Attributes:
        case: what it is a run of.
        way: where knowledge comes from.
        recipe: its settings.
        seed: of all that is drawn.
    """

    case: str
    way: Way
    recipe: R
    seed: int


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[R]):
    """What a demo does.

    Attributes:
        carls: the recipe of the case with a bank.
        baseline: that of the case without knowledge.
        synchronous: that of the case with a maker inside the trainer.
        seeds: runs of each of these.
        goal: score in percent that the ways are compared at by time; None: they are not.
        every_step: the recipe of the case with a refresh at every step; None: it is not run.
        race_seeds: runs of it.
        sweep_seeds: runs at each drift limit; 0: no sweep.
    """

    carls: R
    baseline: R
    synchronous: R
    seeds: int
    goal: float | None = None
    every_step: R | None = None
    race_seeds: int = 1
    sweep_seeds: int = 0

    @property
    def jobs(self) -> list[Job[R]]:
        """All runs, in an order in which each case has its turn for each seed."""
        ways = (Way.BANK, self.carls), (Way.NONE, self.baseline), (Way.INSIDE, self.synchronous)
        jobs = [
            Job(case, way, recipe, seed)
            for seed in range(self.seeds)
            for case, (way, recipe) in zip(CASES, ways, strict=True)
        ]
        if self.every_step is not None:
            jobs += [Job(EVERY_STEP, Way.INSIDE, self.every_step, seed) for seed in range(self.race_seeds)]
        jobs += [
            Job(drift_case(drift), Way.BANK, replace(self.carls, drift_checkpoints=drift), seed)
            for seed in range(self.sweep_seeds)
            for drift in DRIFTS
        ]
        return jobs


def drift_case(drift: int | None) -> str:
    """The name of the case with a drift limit of so many checkpoints."""
    return "carls, unbounded drift" if drift is None else f"carls, drift limit {drift}"
