"""The experiment: the runs of a plan, with a bank and a maker beside those that need them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from carls.cli.demo.comparison.paradigm import K, P, Paradigm
from carls.cli.demo.comparison.plan import Job, Plan, R, Way
from carls.cli.demo.comparison.run import Run
from carls.client import Bank, connect
from carls.service import BankProcess


@dataclass(eq=False)
class Outcome(Generic[R]):
    """What came out.

    Attributes:
        plan: what was done.
        runs: case -> a run for each seed.
        processes: role -> process id, of the processes that worked together.
    """

    plan: Plan[R]
    runs: dict[str, list[Run]]
    processes: dict[str, int] = field(default_factory=lambda: {"trainer": os.getpid()})


def run_experiment(
    paradigm: Paradigm[P, R, K], plan: Plan[R], bank_url: str | None, console: Console
) -> Outcome[R]:
    """Do what is planned: this process trains, others hold the bank and make.

    Args:
        bank_url: of a running bank; None starts one and stops it in the end.
    """
    torch.set_num_threads(1)
    jobs = plan.jobs
    problems = {seed: paradigm.problem(seed) for seed in sorted({job.seed for job in jobs})}
    outcome = Outcome(plan, {job.case: [] for job in jobs})
    with ExitStack() as stack:
        if bank_url is None:
            server = stack.enter_context(BankProcess())
            bank_url, outcome.processes["bank"] = server.url, server.pid
        bank = stack.enter_context(connect(bank_url))
        own_bank = stack.enter_context(connect())
        columns = TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        bars = stack.enter_context(Progress(*columns, console=console))
        totals = dict.fromkeys(outcome.runs, 0)
        for job in jobs:
            totals[job.case] += paradigm.steps(problems[job.seed], job.recipe)
        tasks = {case: bars.add_task(case, total=total, start=False) for case, total in totals.items()}
        for job in jobs:
            bars.start_task(tasks[job.case])
            its_bank = bank if job.way is Way.BANK else own_bank
            advance = partial(bars.advance, tasks[job.case])
            run = _run(paradigm, job, problems[job.seed], its_bank, outcome.processes, advance)
            outcome.runs[job.case].append(run)
    return outcome


def _run(
    paradigm: Paradigm[P, R, K],
    job: Job[R],
    problem: P,
    bank: Bank,
    processes: dict[str, int],
    advance: Callable[[], None],
) -> Run:
    if job.way is Way.NONE:
        return paradigm.train(problem, job.recipe, job.seed, None, advance)
    # A name of our own: the bank may be one that others use, or that an earlier demo used.
    table = f"demo.{paradigm.name}.{os.urandom(4).hex()}"
    with closing(paradigm.knowledge(job.way, bank, table, problem, job.recipe)) as knowledge:
        if knowledge.maker_pid is not None:
            processes["maker"] = knowledge.maker_pid
        return paradigm.train(problem, job.recipe, job.seed, knowledge, advance)
