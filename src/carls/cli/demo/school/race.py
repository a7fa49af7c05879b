"""A race: task nodes in processes of their own, until their bank's models are near the optimum."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from carls.cli.demo.school.node_process import Charge, NodeProcess
from carls.cli.demo.school.problem import Problem
from carls.cli.demo.school.pupils import Floats
from carls.cli.demo.school.recipe import SchoolRecipe
from carls.client import Bank
from carls.client.tasks import TaskTable
from carls.specs import Algorithm, DouglasRachford, ForwardBackward

CARLS, SYNCHRONOUS = "carls", "synchronous"
#: Synchronous proximal gradient descent.
GRADIENT = "synchronous, gradient steps"
#: The ways to the same models; the headline first.
WAYS: dict[str, Algorithm] = {
    CARLS: DouglasRachford(),
    SYNCHRONOUS: DouglasRachford(synchronous=True),
    GRADIENT: ForwardBackward(synchronous=True),
}
#: Seconds between two looks at the bank's models.
LOOK_S = 0.1


class Look(NamedTuple):
    """What the bank had at one time.

    Attributes:
        seconds: since the nodes were let go.
        updates: pushes applied by then.
        distance: (objective - optimum) / optimum of its models.
        gap: the smallest relative gap that it has certified; infinity: none yet.
    """

    seconds: float
    updates: int
    distance: float
    gap: float


@dataclass(frozen=True, eq=False)
class Race:
    """One run.

    Attributes:
        looks: (n, 4) float64, a `Look` each.
        models: the bank's in the end, a column for each school.
        goal: of the distance and of the gap.
        behind: pushes of other nodes between a pull and its push, the most there were.
        delay_s: mean seconds between a pull and its push, over the nodes.
        pids: of the processes with nodes.
    """

    looks: Floats
    models: Floats
    goal: float
    behind: int
    delay_s: float
    pids: tuple[int, ...]

    @property
    def near_s(self) -> float | None:
        """Seconds until the objective was within the goal of the optimum; None: it was not."""
        return self._first(2)

    @property
    def certified_s(self) -> float | None:
        """Seconds until the bank's gap said so; None: it did not."""
        return self._first(3)

    @property
    def last(self) -> Look:
        """The last look."""
        seconds, updates, distance, gap = map(float, self.looks[-1])
        return Look(seconds, int(updates), distance, gap)

    def _first(self, column: int) -> float | None:
        there = np.flatnonzero(self.looks[:, column] <= self.goal)
        return float(self.looks[there[0], 0]) if there.size else None


def run_race(
    bank: Bank,
    problem: Problem,
    way: str,
    recipe: SchoolRecipe,
    seed: int,
    longest_s: float,
    advance: Callable[[float], None],
) -> Race:
    """Let the schools' nodes work on a table of their own, and drop it in the end.

    Args:
        bank: a server that processes can share.
        way: one of `WAYS`.
        seed: of the delays.
        longest_s: after which it is given up.
        advance: is told the seconds since the nodes were let go.
    """
    # A name of our own: the bank may be one that others use, or that an earlier demo used.
    name = f"demo.school.{os.urandom(4).hex()}"
    with ExitStack() as stack:
        table = bank.tasks(name, problem.dim, problem.regularizer, problem.rho, WAYS[way])
        stack.callback(bank.drop, name)
        charges = _charges(problem, bank.url, name, recipe, seed)
        processes = [stack.enter_context(NodeProcess(charge)) for charge in charges]
        for process in processes:
            process.ready()
        _look(table, problem, 0.0)  # what the first call costs counts for no way
        began = time.monotonic()
        for process in processes:
            process.go()
        looks: list[Look] = []
        while not looks or (looks[-1].seconds < longest_s and not _done(looks, recipe.goal)):
            time.sleep(LOOK_S)
            for process in processes:
                process.check()
            look, models = _look(table, problem, began)
            looks.append(look)
            advance(look.seconds)
        for process in processes:
            process.request_stop()
        state = table.state()
        delay_s = float(np.mean([node.mean_delay_s for node in state.nodes])) if state.nodes else 0.0
        pids = tuple(process.pid or 0 for process in processes)
        return Race(np.array(looks), models, recipe.goal, state.longest_delay, delay_s, pids)


def _look(table: TaskTable, problem: Problem, began: float) -> tuple[Look, Floats]:
    found, state = table.models(), table.state()
    seconds = time.monotonic() - began
    # Schools that have not joined yet have models of zeros.
    models = np.zeros((problem.dim, len(problem.train.schools)))
    models[:, [int(task) for task in found.tasks]] = found.values
    known = state.certified if len(state.nodes) == models.shape[1] else None
    gap = float("inf") if known is None else known.relative
    return Look(seconds, state.updates, problem.distance(models), gap), models


def _done(looks: list[Look], goal: float) -> bool:
    return min(look.distance for look in looks) <= goal and looks[-1].gap <= goal


def _charges(problem: Problem, url: str, table: str, recipe: SchoolRecipe, seed: int) -> list[Charge]:
    """The schools dealt out to processes."""
    pairs = list(zip(problem.train.features, problem.train.scores, strict=True))
    schools = dict(zip(problem.train.schools, pairs, strict=True))
    count = min(recipe.processes, len(schools))
    return [
        Charge(
            url,
            table,
            {name: schools[name] for name in list(schools)[part::count]},
            recipe.delay_s,
            (seed, part),
        )
        for part in range(count)
    ]
