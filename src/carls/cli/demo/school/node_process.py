"""A process with the nodes of some schools, which alone has their pupils."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

import numpy as np
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from carls.cli.demo.school.pupils import Floats
from carls.client import TaskTable, connect
from carls.errors import CarlsError
from carls.mtl import TaskNodes, make_task

#: Longest wait for a process to start, or to end, in seconds.
_WAIT_S = 60.0
#: Most threads of a process: each keeps streams open, of which a server has 256.
_THREADS = 40


@dataclass(frozen=True, eq=False)
class Charge:
    """What a process is given.

    Attributes:
        url: of the bank.
        table: name of the table of tasks.
        schools: name -> features (pupils, dim) and scores (pupils,).
        delay_s: mean of the exponential delays, in seconds; 0: none.
        seed: of the delays.
    """

    url: str
    table: str
    schools: Mapping[str, tuple[Floats, Floats]]
    delay_s: float
    seed: tuple[int, ...]


class NodeProcess:
    """Runs the task nodes of some schools in a spawned process; a context manager that ends it.

    Where it is `ready()` its tasks have joined, and wait for `go()`.
    """

    def __init__(self, charge: Charge) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(self._theirs,), name=f"carls nodes of {charge.table}", daemon=True
        )
        self._charge = charge

    @property
    def pid(self) -> int | None:
        """Id of the process; None before it was started."""
        return self._process.pid

    def go(self) -> None:
        """Let the nodes pull and push."""
        self._say("go")

    def check(self, wait_s: float = 0.0) -> None:
        """Raise `CarlsError` if the process or a node in it has failed, or fails within `wait_s` seconds."""
        if self._pipe.poll(wait_s):
            self._await("nothing")

    def ready(self) -> None:
        """Hand the charge over and wait until all its tasks have joined."""
        # Not when the process is started: that would wait for each in turn to come up.
        self._say(self._charge)
        self._await("ready")

    def __enter__(self) -> NodeProcess:
        self._process.start()
        self._theirs.close()
        return self

    def request_stop(self) -> None:
        """Let the nodes stop; does not wait."""
        self._say("stop")

    def __exit__(self, *exception: object) -> None:
        self.request_stop()
        self._process.join(_WAIT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_WAIT_S)
        self._pipe.close()

    def _say(self, what: str | Charge) -> None:
        # A process that has failed says so when it is asked next.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(what)

    def _await(self, wanted: str) -> None:
        try:
            said = self._pipe.recv() if self._pipe.poll(_WAIT_S) else f"it was silent for {_WAIT_S} s"
        except (EOFError, ConnectionError):
            self._process.join(_WAIT_S)
            said = f"it ended with exit code {self._process.exitcode}"
        if said != wanted:
            raise CarlsError(f"process {self.pid} with task nodes: {said}")


def _work(pipe: Connection) -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the owner, who stops us
    try:
        charge = pipe.recv()
        if isinstance(charge, Charge):
            with threadpool_limits(1):
                _nodes(pipe, charge)
    except Exception as error:
        traceback.print_exc()
        with contextlib.suppress(BrokenPipeError):
            pipe.send(f"{type(error).__name__}: {error}")


def _nodes(pipe: Connection, charge: Charge) -> None:
    random = np.random.default_rng(charge.seed)
    tasks = {name: make_task(*pupils) for name, pupils in charge.schools.items()}
    delay = (lambda _: random.exponential(charge.delay_s)) if charge.delay_s else None
    with connect(charge.url) as bank, bank.open(charge.table) as table:
        # A thread for each: where a round is waited for, nobody waits for a thread.
        nodes = TaskNodes(
            None, cast("TaskTable", table), tasks, threads=min(len(tasks), _THREADS), delay=delay
        )
        for name, task in tasks.items():
            cast("TaskTable", table).join(name, task.profile())
        pipe.send("ready")
        if pipe.recv() == "stop":
            return
        with nodes:
            while not pipe.poll(1.0):
                if nodes.wait(0):  # raises what has stopped them
                    break
