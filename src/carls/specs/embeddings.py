"""The spec of embedding tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from carls.errors import InvalidSpecError
from carls.specs.aggregation import Aggregation
from carls.specs.eviction import LRU, TTL, Admission, Eviction
from carls.specs.initializers import Initializer, Normal
from carls.specs.integers import check_integer
from carls.specs.optimizers import Optimizer, Slot
from carls.specs.tables import KeyedSpec
from carls.vectors import LARGEST, check_dtype

#: Largest element of values and gradients that an optimizer works on: squares of larger ones
#: would make its state infinite.
MAX_TRAINED = 1e15

_MAX_DIM = 65536


@dataclass(frozen=True)
class EmbeddingSpec(KeyedSpec):
    """A table of vectors with an optimizer inside.

    Attributes:
        dim: elements of a row, 1 to 65536.
        dtype: of a row's value, "float32" or "float16". The optimizer computes in float32, and its
            state is float32, for both.
        seed: of the initial values, 0 to 2**64 - 1.
        optimizer: applied to pushed gradients; None for tables that are only assigned to.
        initializer: makes the value of a row that a look-up creates.
        max_rows: rows that there may be at any time, 1 to 2**40; None: any number.
        max_bytes: of rows, keys, index, admission and waiting gradients together, at any time; None: any
            number. At least room for 64 rows.
        eviction: which row goes for a new one; LRU where there is a limit and nothing else is said.
        admission: which keys get rows; None: all.
        aggregate: how pushed gradients are gathered; None: each is applied when it comes.
    """

    kind: ClassVar[str] = "embedding"
    dim: int
    dtype: str = "float32"
    seed: int = 0
    keys: str | None = None
    optimizer: Optimizer | None = None
    initializer: Initializer = field(default_factory=Normal)
    max_rows: int | None = None
    max_bytes: int | None = None
    eviction: Eviction | None = None
    admission: Admission | None = None
    aggregate: Aggregation | None = None

    def __post_init__(self) -> None:
        self._check_keys()
        object.__setattr__(self, "dim", check_integer("dim", self.dim, 1, _MAX_DIM))
        object.__setattr__(self, "seed", check_integer("seed", self.seed, 0, 2**64 - 1))
        object.__setattr__(self, "dtype", check_dtype("dtype", self.dtype))
        if self.optimizer is not None:
            object.__setattr__(self, "optimizer", Optimizer.of(self.optimizer))
        if self.aggregate is not None:
            object.__setattr__(self, "aggregate", Aggregation.of(self.aggregate))
            if self.optimizer is None:
                raise InvalidSpecError(
                    f"aggregate={self.aggregate!r} without an optimizer: expected optimizer= with it, "
                    "as there are no gradients without one"
                )
        object.__setattr__(self, "initializer", Initializer.of(self.initializer))
        if self.initializer.largest > self.largest:
            raise InvalidSpecError(
                f"initializer={self.initializer!r}: expected values of at most {self.largest:.5g} in size"
            )
        self._check_growth()

    def _check_growth(self) -> None:
        if self.admission is not None:
            object.__setattr__(self, "admission", Admission.of(self.admission))
        if self.max_rows is not None:
            object.__setattr__(self, "max_rows", check_integer("max_rows", self.max_rows, 1, 2**40))
        if self.max_bytes is not None:
            # A row has at most a header, its value, twice as much of state, and its place in the index.
            least = 2**16 + 64 * (12 * self.dim + 64)
            if self.aggregate is not None:  # an eighth of it is for gradients that wait
                least += 64 * 16 + least // 4
            least += self.admission.nbytes if self.admission else 0
            object.__setattr__(self, "max_bytes", check_integer("max_bytes", self.max_bytes, least, 2**50))
        limited = self.max_rows is not None or self.max_bytes is not None
        if self.eviction is not None:
            object.__setattr__(self, "eviction", Eviction.of(self.eviction))
            if not limited and not isinstance(self.eviction, TTL):
                raise InvalidSpecError(
                    f"eviction={self.eviction!r} without a limit: expected max_rows or max_bytes with it"
                )
        elif limited:
            object.__setattr__(self, "eviction", LRU())

    @property
    def largest(self) -> float:
        """The largest element that a row may be set to, in size: what the dtype holds, and with an
        optimizer at most 1e15, as decay makes gradients of values."""
        return LARGEST[self.dtype] if self.optimizer is None else min(LARGEST[self.dtype], MAX_TRAINED)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What is kept of each row behind its value: the optimizer's state, and what aggregation knows."""
        parts = (self.optimizer, self.aggregate)
        return tuple(slot for part in parts if part is not None for slot in part.slots)

    @property
    def state_floats(self) -> int:
        """How many float32 numbers those are."""
        return sum(slot.size(self.dim) for slot in self.slots)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "dim": self.dim,
            "dtype": self.dtype,
            "seed": self.seed,
            "keys": self.keys,
            "optimizer": None if self.optimizer is None else self.optimizer.to_json(),
            "initializer": self.initializer.to_json(),
            "max_rows": self.max_rows,
            "max_bytes": self.max_bytes,
            "eviction": None if self.eviction is None else self.eviction.to_json(),
            "admission": None if self.admission is None else self.admission.to_json(),
            "aggregate": None if self.aggregate is None else self.aggregate.to_json(),
        }
