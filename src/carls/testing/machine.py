"""A model-based test: random operations against a bank and a plain dict, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carls.client import Bank
from carls.specs import FTRL, SGD, Adagrad, Adam, EmbeddingSpec, Lazy, Momentum, RowwiseAdagrad, Uniform
from carls.testing.oracle import OracleTable

_KEYS: dict[str, Any] = {
    "int64": st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63), 2**32, 7]),
    "string": st.sampled_from(["", "a", "b", "5", "ä", "漢字", "a" * 300]) | st.text(max_size=3),
    "bytes": st.binary(max_size=3) | st.sampled_from([b"5", b"\0", b"\0\0", b"x" * 5000]),
}
_FLOATS = st.floats(-100, 100, width=32)
#: How far float32 arithmetic may be apart, in a row of each dtype: a few roundings.
_TOLERANCE = {"float32": 1e-5, "float16": 4e-3}
#: Decays that are powers of two: where a gradient cancels the decay, float32 and float64 agree.
_OPTIMIZERS = [
    SGD(lr=0.5),
    SGD(lr=0.125, weight_decay=0.25, max_norm=20.0),
    Momentum(lr=0.1),
    Momentum(lr=0.1, nesterov=True, max_norm=50.0),
    Adagrad(lr=0.1),
    Adagrad(lr=0.3, initial_accumulator=0.1, eps=1e-6, weight_decay=0.125),
    RowwiseAdagrad(lr=0.1, max_norm=20.0),
    Adam(lr=0.05, weight_decay=0.125),
    FTRL(lr=0.2, l1=0.5, l2=0.25),
]
#: Gradients wait for no clock here, and none is near the bound of outliers by rounding alone.
_AGGREGATIONS = [
    None,
    Lazy(max_delay_s=1e6, outlier_factor=1e6),
    Lazy(max_pending=3, max_delay_s=1e6, outlier_factor=1e6),
]
_numbers = itertools.count()


def bank_machine(connect: Callable[[], Bank], *, examples: int = 60, steps: int = 25) -> Any:
    """A hypothesis state machine class that plays against banks made by `connect`.

    Its `TestCase` attribute is what a test module exports.

    Args:
        connect: gives a bank; each run uses a table of its own name in it and closes it.
        examples: runs.
        steps: operations in each.
    """

    class BankMachine(RuleBasedStateMachine):
        """Every operation is done in the bank and in the oracle; what they tell must agree."""

        @initialize(
            key_type=st.sampled_from(sorted(_KEYS)),
            dim=st.sampled_from([1, 3, 8, 17]),
            optimizer=st.sampled_from(_OPTIMIZERS),
            seed=st.integers(0, 2**64 - 1),
            dtype=st.sampled_from(sorted(_TOLERANCE)),
            aggregate=st.sampled_from(_AGGREGATIONS),
        )
        def open_table(
            self, key_type: str, dim: int, optimizer: Any, seed: int, dtype: str, aggregate: Any
        ) -> None:
            self.bank = connect()
            self.table = self.bank.embeddings(
                f"model-{next(_numbers)}-{self.bank.producer.split('/')[-1]}",
                dim=dim,
                dtype=dtype,
                seed=seed,
                keys=key_type,
                optimizer=optimizer,
                initializer=Uniform(-1.0, 2.0),
                aggregate=aggregate,
            )
            assert isinstance(self.table.spec, EmbeddingSpec)
            self.tolerance = _TOLERANCE[dtype]
            self.oracle = OracleTable(self.table.spec, self.bank.producer)
            self.keys = st.lists(_KEYS[key_type], min_size=1, max_size=12)

        @rule(data=st.data(), create=st.booleans(), prefetch=st.booleans())
        def lookup(self, data: st.DataObject, create: bool, prefetch: bool) -> None:
            keys = data.draw(self.keys)
            if prefetch:
                self.table.prefetch(keys, create=create, fresh=True)
            rows = self.table.lookup(keys, create=create)
            values, expected, created = self.oracle.lookup(keys, create)
            np.testing.assert_allclose(rows.values, values, rtol=self.tolerance, atol=self.tolerance)
            assert rows.found.tolist() == [row is not None for row in expected]
            assert rows.created.tolist() == created
            assert rows.fresh.tolist() == [
                row is not None and not c for row, c in zip(expected, created, strict=True)
            ]
            assert rows.version.tolist() == [row.version if row else 0 for row in expected]
            assert rows.step.tolist() == [row.step if row else -1 for row in expected]
            assert rows.producer == [row.producer if row else "" for row in expected]

        @rule(data=st.data(), at_step=st.integers(0, 60), max_age_steps=st.integers(0, 60))
        def bounded(self, data: st.DataObject, at_step: int, max_age_steps: int) -> None:
            keys = data.draw(self.keys)
            rows = self.table.lookup(keys, create=False, at_step=at_step, max_age_steps=max_age_steps)
            _, expected, _ = self.oracle.lookup(keys, False)
            fresh = [row is not None and row.step >= at_step - max_age_steps for row in expected]
            assert rows.fresh.tolist() == fresh

        @rule(data=st.data(), step=st.integers(0, 50), background=st.booleans())
        def assign(self, data: st.DataObject, step: int, background: bool) -> None:
            keys = data.draw(self.keys)
            values = self._matrix(data, len(keys))
            (self.table.assign_async if background else self.table.assign)(keys, values, step=step)
            self.oracle.assign(keys, values, step)

        @rule(data=st.data(), step=st.integers(0, 50), background=st.booleans())
        def push(self, data: st.DataObject, step: int, background: bool) -> None:
            keys = data.draw(self.keys)
            gradients = self._matrix(data, len(keys))
            send = self.table.push_gradients_async if background else self.table.push_gradients
            send(keys, gradients, step=step)
            self.oracle.push(keys, gradients, step)

        @rule(lr=st.sampled_from([0.0, 0.01, 0.1, 0.25]))
        def set_learning_rate(self, lr: float) -> None:
            self.table.set_learning_rate(lr)
            self.oracle.set_learning_rate(lr)

        @rule(data=st.data())
        def erase(self, data: st.DataObject) -> None:
            keys = data.draw(self.keys)
            assert self.table.erase(keys).tolist() == self.oracle.erase(keys)

        @rule(batch=st.integers(1, 5))
        def scan(self, batch: int) -> None:
            self.table.flush()
            found: dict[Any, Any] = {}
            for keys, rows in self.table.scan(batch=batch):
                assert rows.found.all()
                for key, value, count in zip(keys.tolist(), rows.values, rows.count, strict=True):
                    assert key not in found
                    found[key] = (value, count)
            self.oracle.settle()
            assert set(found) == set(self.oracle.rows)
            for key, (value, count) in found.items():
                np.testing.assert_allclose(
                    value, self.oracle.rows[key].value, rtol=self.tolerance, atol=self.tolerance
                )
                assert count == self.oracle.rows[key].count

        @precondition(lambda self: hasattr(self, "table"))
        @invariant()
        def same_size(self) -> None:
            self.table.flush()
            assert len(self.table) == len(self.oracle.rows)

        def _matrix(self, data: st.DataObject, rows: int) -> Any:
            dim = self.table.dim
            numbers = data.draw(st.lists(_FLOATS, min_size=rows, max_size=rows))
            matrix = np.outer(numbers, np.linspace(-1, 1, dim) + 0.5)
            return matrix.astype(data.draw(st.sampled_from([np.float32, np.float16])))

        def teardown(self) -> None:
            if hasattr(self, "bank"):
                self.bank.drop(self.table.name)
                self.bank.close()

    BankMachine.TestCase.settings = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    return BankMachine
