"""What a careful user does, and the rows that must be there afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

import carls
from carls.testing import OracleTable

#: Answers that say: this call changed nothing.
NOTHING_DONE = (carls.UnavailableError, carls.DeadlineExceededError, carls.LimitReachedError)
KEYS = 4
VERBS = ("push", "assign", "erase", "label", "publish", "burst", "assign later", "label later")


@dataclass(frozen=True)
class Operation:
    """One write of a trainer, to its keys 0 to 3."""

    verb: str
    keys: tuple[int, ...]
    number: float


def operations(most: int = 12, verbs: Sequence[str] = VERBS) -> st.SearchStrategy[list[Operation]]:
    keys = st.lists(st.integers(0, KEYS - 1), min_size=1, max_size=4).map(tuple)
    numbers = st.floats(-4, 4, width=32)
    return st.lists(st.builds(Operation, st.sampled_from(verbs), keys, numbers), min_size=1, max_size=most)


class Trainer:
    """Writes by handles of its own to rows of its own, and notes what must be there.

    It repeats what was not sent, leaves to the handle what is unknown, and starts from nothing when
    it is told that the bank was replaced.

    Args:
        bank: may fail.
        number: of the trainer; trainers share the tables.
        patience_s: how long the bank may fail.
    """

    def __init__(self, bank: carls.Bank, number: int, patience_s: float = 60.0) -> None:
        self.bank, self.number = bank, number
        self._until = time.monotonic() + patience_s
        self.rows = self._insist(
            lambda: bank.embeddings(
                "rows", dim=2, optimizer=carls.Adagrad(lr=0.5), initializer=carls.Constant(0.25)
            )
        )
        self.labels = self._insist(lambda: bank.features("labels", {"label": "float32"}))
        self._step = 0
        self._told: list[BaseException] = []
        self._restarted("all")

    def do(self, operation: Operation) -> None:
        self._step += 1
        keys = [100 * self.number + key for key in operation.keys]
        matrix = np.full((len(keys), 2), operation.number, np.float32)
        column = {"label": np.full(len(keys), operation.number, np.float32)}
        rows, labels, step = self.rows, self.labels, self._step
        if operation.verb == "push":
            self._do("rows", partial(rows.push_gradients, keys, matrix, step=step))
            self.oracle.push(keys, matrix, step)
        elif operation.verb == "assign":
            self._do("rows", partial(rows.assign, keys, matrix, step=step))
            self.oracle.assign(keys, matrix, step)
        elif operation.verb == "assign later":
            self._do("rows", lambda: rows.assign_async(keys, matrix, step=step).result(30))
            self.oracle.assign(keys, matrix, step)
        elif operation.verb == "erase":
            self._do("rows", partial(rows.erase, keys))
            self.oracle.erase(keys)
        elif operation.verb == "burst":
            self._burst(keys, matrix, step)
        elif operation.verb == "publish":
            model = {"w": np.full(3, operation.number, np.float32)}
            self._do("model", lambda: self.bank.models.publish(self._model, model, step=step))
            self.published.append((step, operation.number))
        else:
            if operation.verb == "label":
                self._do("labels", partial(labels.assign, keys, column, step=step))
            else:
                self._do("labels", lambda: labels.assign_async(keys, column, step=step).result(30))
            for key in keys:
                before = self.labelled.get(key, (0.0, 0, -1))
                self.labelled[key] = (operation.number, before[1] + 1, step)

    def settle(self) -> None:
        self._do("rows", self.rows.flush)
        self._do("labels", self.labels.flush)
        self._do("model", self.bank.models.flush)

    def check(self) -> None:
        """Compare with what must be there, by a look-up that fails no more."""
        keys = [100 * self.number + key for key in range(KEYS)]
        rows = self._do("rows", partial(self.rows.lookup, keys, create=False))
        values, expected, _ = self.oracle.lookup(keys, False)
        np.testing.assert_allclose(rows.values, values, rtol=1e-5, atol=1e-6)
        assert rows.version.tolist() == [row.version if row else 0 for row in expected]
        assert rows.step.tolist() == [row.step if row else -1 for row in expected]
        assert rows.producer == [row.producer if row else "" for row in expected]
        labels = self._do("labels", partial(self.labels.lookup, keys))
        noted = [self.labelled.get(key, (0.0, 0, -1)) for key in keys]
        assert labels.columns["label"].to_pylist() == [note[0] for note in noted]
        assert labels.version.tolist() == [note[1] for note in noted]
        assert labels.step.tolist() == [note[2] for note in noted]
        model = self._do("model", partial(self.bank.models.latest, self._model))
        if model is None:
            assert self.published == []
        else:
            assert (model.version, model.step) == (len(self.published), self.published[-1][0])
            assert model.tensors["w"].tolist() == [self.published[-1][1]] * 3

    @property
    def _model(self) -> str:
        return f"model{self.number}"

    def _burst(self, keys: Sequence[int], matrix: Any, step: int) -> None:
        """Three equal pushes under way at once, so that their order makes no difference."""

        def push() -> Future[Any]:
            future: Future[Any] = self.rows.push_gradients_async(keys, matrix, step=step)
            return future

        done = 0
        while done < 3:
            futures = [self._do("rows", push) for _ in range(3 - done)]
            for future in futures:
                if future is None:
                    continue
                try:
                    future.result(30)
                except carls.OutcomeUnknownError:
                    pass  # kept by the handle
                except NOTHING_DONE:
                    continue
                except (carls.BankRestartedError, carls.ClientForgottenError) as error:
                    self._told.append(error)
                    self._restarted("rows")
                    done = 0
                    continue
                done += 1
                self.oracle.push(keys, matrix, step)

    def _do(self, what: str, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return self._insist(call)
            except (carls.BankRestartedError, carls.ClientForgottenError) as error:
                # An error in the background is told by its future and again by the next call.
                if not any(error.__cause__ is told for told in self._told):
                    self._told.append(error)
                    self._restarted(what)

    def _insist(self, call: Callable[[], Any]) -> Any:
        while time.monotonic() < self._until:
            try:
                return call()
            except carls.OutcomeUnknownError:
                return None  # kept by the handle, which repeats it before the next write
            except NOTHING_DONE:
                continue
        raise AssertionError("the bank failed for too long")

    def _restarted(self, what: str) -> None:
        """Forget what was in the bank that is gone."""
        if what in ("all", "rows"):
            self.oracle = OracleTable(self.rows.spec, self.bank.producer)
        if what in ("all", "labels"):
            self.labelled: dict[int, tuple[float, int, int]] = {}
        if what in ("all", "model"):
            self.published: list[tuple[int, float]] = []
