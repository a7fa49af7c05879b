"""Table specs: what a table holds, agreed once and the same for everybody who opens it."""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar, cast

from carls.errors import InvalidSpecError
from carls.specs.eviction import LRU, TTL, Admission, Eviction
from carls.specs.initializers import Initializer, Normal
from carls.specs.optimizers import Optimizer
from carls.vectors import LARGEST, check_dtype

KEY_TYPES = ("int64", "string", "bytes")
#: Largest element of values and gradients that an optimizer works on: squares of larger ones
#: would make its state infinite.
MAX_TRAINED = 1e15
#: Types of a feature column; "string" columns hold one text, "list<T>" columns any number of T.
SCALAR_TYPES = ("int32", "int64", "float32", "float64", "bool", "string")
LIST_TYPES = tuple(f"list<{t}>" for t in ("int32", "int64", "float32", "float64", "string"))

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_MAX_DIM = 65536

Spec = TypeVar("Spec", bound="TableSpec")


def check_name(kind: str, name: Any) -> str:
    """Return `name` if it can name a `kind` (a table, a column, a model).

    Raises:
        InvalidSpecError: it is not 1 to 128 letters, digits and `_ . : -`, starting with a
            letter or digit. Names become file names and URLs later, hence the narrow choice.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSpecError(
            f"{kind} name {name!r}: expected 1 to 128 letters, digits, '_', '.', ':' or '-', "
            "starting with a letter or a digit"
        )
    return name


class TableSpec:
    """What all table specs share.

    Attributes:
        keys: "int64", "string" or "bytes"; None until the first use fixes it.
    """

    kind: ClassVar[str]
    keys: str | None

    def _check_keys(self) -> None:
        if self.keys is not None and not (isinstance(self.keys, str) and self.keys in KEY_TYPES):
            raise InvalidSpecError(f"keys={self.keys!r:.60}: expected one of {list(KEY_TYPES)} or None")

    def with_keys(self: Spec, keys: str | None) -> Spec:
        """The same spec with another key type."""
        return cast("Spec", replace(cast("Any", self), keys=keys))

    def accepts(self, other: TableSpec) -> bool:
        """Whether a table of this spec may be opened as `other`: equal, or `other` leaves keys open."""
        return self == other or (other.keys is None and other.with_keys(self.keys) == self)

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON-able facts; `spec_from_json` builds an equal spec from them."""
        raise NotImplementedError


@dataclass(frozen=True)
class EmbeddingSpec(TableSpec):
    """A table of vectors with an optimizer inside.

    Attributes:
        dim: elements of a row, 1 to 65536.
        dtype: of a row's value, "float32" or "float16". The optimizer computes in float32, and its
            state is float32, for both.
        seed: of the initial values, 0 to 2**64 - 1.
        optimizer: applied to pushed gradients; None for tables that are only assigned to.
        initializer: makes the value of a row that a look-up creates.
        max_rows: rows that there may be at any time, 1 to 2**40; None: any number.
        max_bytes: of rows, keys, index and admission together, at any time; None: any number. At
            least room for 64 rows.
        eviction: which row goes for a new one; LRU where there is a limit and nothing else is said.
        admission: which keys get rows; None: all.
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

    def __post_init__(self) -> None:
        self._check_keys()
        object.__setattr__(self, "dim", _integer("dim", self.dim, 1, _MAX_DIM))
        object.__setattr__(self, "seed", _integer("seed", self.seed, 0, 2**64 - 1))
        object.__setattr__(self, "dtype", check_dtype("dtype", self.dtype))
        if self.optimizer is not None:
            object.__setattr__(self, "optimizer", Optimizer.of(self.optimizer))
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
            object.__setattr__(self, "max_rows", _integer("max_rows", self.max_rows, 1, 2**40))
        if self.max_bytes is not None:
            # A row has at most a header, its value, twice as much of state, and its place in the index.
            least = 2**16 + 64 * (12 * self.dim + 64) + (self.admission.nbytes if self.admission else 0)
            object.__setattr__(self, "max_bytes", _integer("max_bytes", self.max_bytes, least, 2**50))
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
        }


@dataclass(frozen=True)
class FeatureSpec(TableSpec):
    """A table of typed columns, such as labels, weights and neighbour lists.

    Attributes:
        columns: (name, type) pairs; types are int32, int64, float32, float64, bool, string
            and list<T> of int32, int64, float32, float64, string. A mapping is accepted.
    """

    kind: ClassVar[str] = "feature"
    columns: tuple[tuple[str, str], ...]
    keys: str | None = None

    def __post_init__(self) -> None:
        self._check_keys()
        given = self.columns
        if not isinstance(given, Mapping | list | tuple):
            raise InvalidSpecError(f"columns={given!r:.60}: expected (name, type) pairs")
        pairs = tuple(given.items()) if isinstance(given, Mapping) else tuple(map(tuple, given))
        if not pairs:
            raise InvalidSpecError("columns={}: expected at least one column, such as {'label': 'int32'}")
        for pair in pairs:
            if len(pair) != 2:
                raise InvalidSpecError(f"column {pair!r}: expected a (name, type) pair")
            check_name("column", pair[0])
            if not isinstance(pair[1], str) or pair[1] not in SCALAR_TYPES + LIST_TYPES:
                raise InvalidSpecError(
                    f"column {pair[0]!r} of type {pair[1]!r}: expected one of "
                    f"{', '.join(SCALAR_TYPES + LIST_TYPES)}"
                )
        if len({name for name, _ in pairs}) != len(pairs):
            raise InvalidSpecError(f"columns {[name for name, _ in pairs]}: expected distinct names")
        object.__setattr__(self, "columns", pairs)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": [list(pair) for pair in self.columns], "keys": self.keys}


def _integer(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        raise InvalidSpecError(f"{name}={value!r:.60}: expected an integer from {least} to {most}")
    return int(value)


def spec_from_json(facts: Mapping[str, Any]) -> TableSpec:
    """Build the spec that `TableSpec.to_json` described.

    Raises:
        InvalidSpecError: the facts describe no spec.
    """
    arguments = dict(facts)
    kind = arguments.pop("kind", None)
    kinds: dict[Any, type[TableSpec]] = {s.kind: s for s in (EmbeddingSpec, FeatureSpec)}
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidSpecError(f"table kind {kind!r}: expected one of {sorted(kinds)}")
    try:
        return kinds[kind](**arguments)
    except TypeError as error:
        raise InvalidSpecError(f"{kind} spec {dict(facts)!r}: {error}") from None
