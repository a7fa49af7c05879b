"""The spec of tables of tasks."""

from __future__ import annotations

import json
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from carls.errors import InvalidSpecError
from carls.specs.algorithms import Algorithm, DouglasRachford
from carls.specs.integers import check_integer
from carls.specs.norms import Nuclear
from carls.specs.regularizer import CHOICES, Regularizer
from carls.specs.tables import TableSpec

#: Of a model; its node sends it whole.
MAX_DIM = 2**19
#: Bytes of a spec's JSON form, which each description of the table carries.
MAX_JSON = 4 << 20
#: rho is from one over this to this.
LARGEST_RHO = 1e15


@dataclass(frozen=True)
class TaskSpec(TableSpec):
    """Tasks that learn together: minimise over W  sum_t l_t(w_t) + rho * g(W).

    Attributes:
        dim: elements of a task's model, 1 to 524,288.
        regularizer: g; an object such as `carls.mtl.L21()`, its name or its JSON form. One of your own is an
            error: the bank evaluates it, and is told no code.
        rho: its weight, 1e-15 to 1e15.
        algorithm: what nodes evaluate, and how the bank relaxes their answers; likewise.
    """

    kind: ClassVar[str] = "tasks"
    dim: int
    regularizer: Regularizer = Nuclear()  # noqa: RUF009 - frozen
    rho: float = 1.0
    algorithm: Algorithm = DouglasRachford()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        _refuse_own("regularizer", self.regularizer, list(CHOICES.values()))
        _refuse_own("algorithm", self.algorithm, Algorithm.kinds())
        rho = self.rho
        if (
            isinstance(rho, bool)
            or not isinstance(rho, numbers.Real)
            or not 1 / LARGEST_RHO <= rho <= LARGEST_RHO
        ):
            raise InvalidSpecError(
                f"rho={rho!r:.60}: expected a number from {1 / LARGEST_RHO:g} to {LARGEST_RHO:g}"
            )
        try:
            regularizer = Regularizer.of(self.regularizer)
        except RecursionError:
            raise InvalidSpecError("regularizer: sums in sums in sums, and so on: expected one sum") from None
        for name, value in {
            "dim": check_integer("dim", self.dim, 1, MAX_DIM),
            "regularizer": regularizer,
            "rho": float(rho),
            "algorithm": Algorithm.of(self.algorithm),
        }.items():
            object.__setattr__(self, name, value)
        size = len(json.dumps(self.to_json()))
        if size > MAX_JSON:
            raise InvalidSpecError(
                f"{self.regularizer.name!r} of {size} bytes in JSON: expected at most {MAX_JSON}. "
                "Of relations R only R R' counts while all tasks are there: give a factor of it with fewer "
                "columns"
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "dim": self.dim,
            "regularizer": self.regularizer.to_json(),
            "rho": self.rho,
            "algorithm": self.algorithm.to_json(),
        }


def _refuse_own(field: str, value: Any, kinds: list[type[Any]]) -> None:
    """Refuse objects that have no JSON form."""
    if isinstance(value, str | Mapping) or type(value) in kinds:
        return
    raise InvalidSpecError(
        f"{field}={value!r:.80} of type {type(value).__name__}: expected one of "
        f"{sorted(kind.name for kind in kinds)}, by its name or as an object: a bank is told its {field} in "
        "JSON, which one of your own has not"
    )
