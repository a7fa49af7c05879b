"""The spec of feature tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from carls.errors import InvalidSpecError
from carls.specs.tables import KeyedSpec, check_name

#: Types of a feature column; "string" columns hold one text, "list<T>" columns any number of T.
SCALAR_TYPES = ("int32", "int64", "float32", "float64", "bool", "string")
LIST_TYPES = tuple(f"list<{t}>" for t in ("int32", "int64", "float32", "float64", "string"))


@dataclass(frozen=True)
class FeatureSpec(KeyedSpec):
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
