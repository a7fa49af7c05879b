"""The experiment: every case of a demo for every seed, with a bank and a maker beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from carls.cli.demo.graphs.knowledge import BankKnowledge, OwnKnowledge
from carls.cli.demo.graphs.maker import VertexMaker
from carls.cli.demo.graphs.problem import Problem
from carls.cli.demo.graphs.recipe import Recipe
from carls.cli.demo.graphs.trainer import Run, train
from carls.client import Bank, connect
from carls.makers import MakerProcess
from carls.service import BankProcess

#: The cases, the headline case first.
CASES = ("carls", "baseline", "synchronous")


@dataclass(eq=False)
class Outcome:
    """What came out.

    Attributes:
        runs: case -> a run for each seed.
        processes: role -> process id, of the processes that worked together.
    """

    runs: dict[str, list[Run]] = field(default_factory=lambda: {case: [] for case in CASES})
    processes: dict[str, int] = field(default_factory=dict)


def run_experiment(
    name: str,
    problem_of: Callable[[int], Problem],
    with_graph: Recipe,
    without: Recipe,
    seeds: int,
    bank_url: str | None,
    console: Console,
) -> Outcome:
    """Train every case for seeds 0, 1, ...: this process trains, others hold the bank and make.

    Args:
        problem_of: gives the problem of a seed.
        with_graph: recipe of the cases with neighbours.
        without: recipe of the baseline.
        bank_url: of a running bank; None starts one and stops it in the end.
    """
    torch.set_num_threads(1)
    outcome = Outcome()
    with ExitStack() as stack:
        if bank_url is None:
            server = stack.enter_context(BankProcess())
            bank_url, outcome.processes["bank"] = server.url, server.pid
        bank = stack.enter_context(connect(bank_url))
        own_bank = stack.enter_context(connect())
        columns = TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        bars = stack.enter_context(Progress(*columns, console=console))
        tasks = {
            case: bars.add_task(
                f"{name} {case}", total=seeds * (without if case == "baseline" else with_graph).steps
            )
            for case in CASES
        }
        outcome.processes["trainer"] = os.getpid()
        for seed in range(seeds):
            problem = problem_of(seed)
            advance = {case: (lambda task=task: bars.advance(task)) for case, task in tasks.items()}
            run = _train_with_bank(bank, name, problem, with_graph, seed, outcome, advance["carls"])
            outcome.runs["carls"].append(run)
            outcome.runs["baseline"].append(train(problem, without, seed, None, advance["baseline"]))
            with closing(OwnKnowledge(own_bank, f"{name}.{seed}", problem, with_graph)) as knowledge:
                run = train(problem, with_graph, seed, knowledge, advance["synchronous"])
            outcome.runs["synchronous"].append(run)
    return outcome


def _train_with_bank(
    bank: Bank,
    name: str,
    problem: Problem,
    recipe: Recipe,
    seed: int,
    outcome: Outcome,
    advance: Callable[[], None],
) -> Run:
    # Names of our own: the bank may be one that others use, or that an earlier demo used.
    table = f"demo.{name}.{os.urandom(4).hex()}.{seed}"
    with closing(BankKnowledge(bank, table, table, problem, recipe)) as knowledge:
        maker = VertexMaker(table, problem.features)
        with MakerProcess(bank.url, maker, model=table, keys=problem.keys, batch_size=4096) as process:
            assert process.pid is not None
            outcome.processes["maker"] = process.pid
            return train(problem, recipe, seed, knowledge, advance)
