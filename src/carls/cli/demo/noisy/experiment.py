"""The experiment: the runs of a plan, with a bank and a maker beside those that need them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from carls.cli.demo.fashion import Fashion
from carls.cli.demo.noisy.knowledge import MAKER_BATCH, BankKnowledge
from carls.cli.demo.noisy.plan import TEST_STEPS, Job, NoisyPlan
from carls.cli.demo.noisy.problem import NoisyProblem, noisy
from carls.cli.demo.noisy.trainer import NoisyRun, steps_of, train
from carls.client import Bank, connect
from carls.makers import MakerProcess
from carls.service import BankProcess


@dataclass(eq=False)
class NoisyOutcome:
    """What came out.

    Attributes:
        plan: what was done.
        runs: case -> a run for each seed.
        wrong: share of wrong labels for each seed, 0 to 1.
        processes: role -> process id, of the processes that worked together.
    """

    plan: NoisyPlan
    runs: dict[str, list[NoisyRun]]
    wrong: list[float]
    processes: dict[str, int] = field(default_factory=lambda: {"trainer": os.getpid()})


def run_experiment(data: Fashion, plan: NoisyPlan, bank_url: str | None, console: Console) -> NoisyOutcome:
    """Do what is planned: this process trains, others hold the bank and make.

    Args:
        bank_url: of a running bank; None starts one and stops it in the end.
    """
    torch.set_num_threads(1)
    problems = [noisy(data, seed, plan.noise) for seed in range(plan.seeds)]
    cases = list(dict.fromkeys(job.case for job in plan.jobs))
    outcome = NoisyOutcome(plan, {case: [] for case in cases}, [problem.wrong for problem in problems])
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
                case,
                total=sum(steps_of(problems[job.seed], job.recipe) for job in plan.jobs if job.case == case),
                start=False,
            )
            for case in cases
        }
        for job in plan.jobs:
            task = tasks[job.case]
            bars.start_task(task)
            its_bank = bank if job.knowledge is BankKnowledge else own_bank
            advance = partial(bars.advance, task)
            run = _run(job, its_bank, problems[job.seed], outcome.processes, advance)
            outcome.runs[job.case].append(run)
    return outcome


def _run(
    job: Job, bank: Bank, problem: NoisyProblem, processes: dict[str, int], advance: Callable[[], None]
) -> NoisyRun:
    if job.knowledge is None:
        return train(problem, job.recipe, job.seed, None, TEST_STEPS, advance)
    # A name of our own: the bank may be one that others use, or that an earlier demo used.
    table = f"demo.noisy-labels.{os.urandom(4).hex()}"
    with ExitStack() as stack:
        knowledge = stack.enter_context(closing(job.knowledge(bank, table, problem, job.recipe)))
        if isinstance(knowledge, BankKnowledge):
            maker = MakerProcess(
                bank.url, knowledge.maker, model=table, keys=problem.keys, batch_size=MAKER_BATCH
            )
            stack.enter_context(maker)
            assert maker.pid is not None
            processes["maker"] = maker.pid
        return train(problem, job.recipe, job.seed, knowledge, TEST_STEPS, advance)
