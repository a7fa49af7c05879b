"""Recorder: times the steps of a run and keeps copies of its model, which are tested in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.comparison.run import Run


class Recorder:
    """What becomes a `Run`.

    Args:
        model: that is trained; what is not among its parameters and buffers is not kept.
        steps: of the run.
        test_steps: steps between two tests; the last step is tested in any case.
    """

    def __init__(self, model: torch.nn.Module, steps: int, test_steps: int) -> None:
        self._model = model
        self._steps, self._test_steps = steps, test_steps
        self._spent = 0.0
        self._copies: list[tuple[int, float, dict[str, torch.Tensor]]] = []
        self._staleness: list[npt.NDArray[np.int64]] = []
        self._left_out: list[float] = []

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Time a step, and keep a copy of the model after it where a test is due."""
        began = time.perf_counter()
        yield
        self._spent += time.perf_counter() - began
        done = step + 1
        if done % self._test_steps == 0 or done == self._steps:
            copy = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
            self._copies.append((done, self._spent, copy))

    def read(self, staleness: npt.NDArray[np.int64], left_out: float) -> None:
        """Note the rows that a step has read: (trainer step - row step) of each that was used, and the share
        that could not be used, 0 to 1."""
        self._staleness.append(staleness)
        self._left_out.append(left_out)

    def finish(
        self,
        score: Callable[[], float],
        waited_s: float = 0.0,
        others: Mapping[str, Callable[[], float]] = MappingProxyType({}),
    ) -> Run:
        """Test all copies, by `score` of the model with their state, in percent, and the last one by `others`
        as well. Leaves the model as it was after the last step."""
        curve = []
        for done, spent, copy in self._copies:
            self._model.load_state_dict(copy)
            curve.append((done, spent, score()))
        none = np.zeros(0, np.int64)
        return Run(
            curve=np.array(curve),
            staleness=np.concatenate([none, *self._staleness]),
            left_out=float(np.mean(self._left_out)) if self._left_out else 0.0,
            waited_s=waited_s,
            others={name: measure() for name, measure in others.items()},
        )
