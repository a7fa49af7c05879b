"""The plan of the demo: which runs are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from carls.cli.demo.noisy.knowledge import BankKnowledge, Knowledge, OwnKnowledge
from carls.cli.demo.noisy.recipe import CHOSEN, GOALS, NoisyRecipe

#: The cases, the headline case first.
CASES = ("carls", "baseline", "synchronous")
#: The case that refreshes at every step; of it only the time to the goal is of interest.
EVERY_STEP = "synchronous, every step"
#: Drift limits of the sweep, in checkpoints; None: unbounded.
DRIFTS = (0, 1, 4, 16, None)
#: Steps between two tests, for the curves.
TEST_STEPS = 78

_KNOWLEDGE: dict[str, type[Knowledge] | None] = {
    "carls": BankKnowledge,
    "baseline": None,
    "synchronous": OwnKnowledge,
}


@dataclass(frozen=True)
class Job:
    """One training run of the plan.

    Attributes:
        case: what it is a run of.
        knowledge: where quality comes from; None: from nowhere.
        recipe: its settings.
        seed: of the noise, of the first weights and of the order of the examples.
    """

    case: str
    knowledge: type[Knowledge] | None
    recipe: NoisyRecipe
    seed: int


@dataclass(frozen=True)
class NoisyPlan:
    """What the demo does.

    Attributes:
        noise: "symmetric" or "asymmetric".
        recipe: of all cases; the baseline uses its network and optimizer only.
        seeds: runs of each case.
        goal: accuracy in percent that the ways are compared at by time; None: they are not.
        race_epochs: epochs of the case with a refresh at every step.
        race_seeds: runs of it.
        sweep_seeds: runs at each drift limit; 0: no sweep.
    """

    noise: str
    recipe: NoisyRecipe
    seeds: int
    goal: float | None = None
    race_epochs: int = 0
    race_seeds: int = 0
    sweep_seeds: int = 0

    @staticmethod
    def of(noise: str, seeds: int, epochs: int | None, quick: bool) -> NoisyPlan:
        """The plan for what was asked on the command line.

        Args:
            epochs: of each run; None: the tuned number, and the race and the sweep as well.
            quick: one seed and three epochs: shows that it runs.
        """
        recipe = CHOSEN[noise]
        if quick:
            return NoisyPlan(noise, replace(recipe, epochs=epochs or 3), seeds=1)
        if epochs is not None:
            return NoisyPlan(noise, replace(recipe, epochs=epochs), seeds)
        goal = GOALS[noise]
        return NoisyPlan(noise, recipe, seeds, goal, 11, 0 if goal is None else 1, sweep_seeds=1)

    @property
    def jobs(self) -> list[Job]:
        """All runs, in an order in which each case has its turn for each seed."""
        jobs = [
            Job(case, _KNOWLEDGE[case], self.recipe, seed) for seed in range(self.seeds) for case in CASES
        ]
        slow = replace(self.recipe, epochs=self.race_epochs).every_step()
        jobs += [Job(EVERY_STEP, OwnKnowledge, slow, seed) for seed in range(self.race_seeds)]
        jobs += [
            Job(drift_case(drift), BankKnowledge, replace(self.recipe, drift_checkpoints=drift), seed)
            for seed in range(self.sweep_seeds)
            for drift in DRIFTS
        ]
        return jobs


def drift_case(drift: int | None) -> str:
    """The name of the case with a drift limit of so many checkpoints."""
    return "carls, unbounded drift" if drift is None else f"carls, drift limit {drift}"
