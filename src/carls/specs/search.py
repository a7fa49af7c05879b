"""What a search is told beside its queries: how rows are scored, and which rows may be found."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from carls.errors import InvalidRequestError
from carls.specs.tables import check_name

#: How a row x is scored against a query q. Of "squared_l2" the smaller is better, of the others the larger.
METRICS = ("dot", "cosine", "squared_l2")

Value = bool | int | str

_MISSING: Any = object()


def check_metric(metric: Any) -> str:
    """`metric`, if it is one.

    Raises:
        InvalidRequestError: it is none.
    """
    if not isinstance(metric, str) or metric not in METRICS:
        raise InvalidRequestError(f"metric={metric!r:.60}: expected one of {list(METRICS)}")
    return metric


@dataclass(frozen=True, init=False)
class Where:
    """Only rows whose key has, in a feature table of the same bank, one of some values in a column.

    Attributes:
        table: the feature table, whose keys have the type of the keys searched.
        column: of that table, of type bool, int32, int64 or string.
        values: one of which a row must have.
    """

    table: str
    column: str
    values: tuple[Value, ...]

    def __init__(
        self, table: str, column: str, *, equals: Value = _MISSING, isin: Iterable[Value] = _MISSING
    ) -> None:
        """Either `equals` one value or `isin` several, of which there may be none.

        Raises:
            InvalidRequestError: neither or both, or values that are no bool, integer or text.
        """
        if (equals is _MISSING) == (isin is _MISSING):
            raise InvalidRequestError(
                f"Where({table!r:.60}, {column!r:.60}): expected either equals= or isin=, one of the two"
            )
        if isinstance(isin, str | bytes | Mapping):
            raise InvalidRequestError(f"isin={isin!r:.60}: expected a list of values, such as [{isin!r:.40}]")
        try:
            values = (equals,) if isin is _MISSING else tuple(isin)
        except TypeError:
            raise InvalidRequestError(f"isin={isin!r:.60}: expected a list of values") from None
        object.__setattr__(self, "table", check_name("table", table))
        object.__setattr__(self, "column", check_name("column", column))
        object.__setattr__(self, "values", tuple(_value(value) for value in values))

    def to_json(self) -> dict[str, Any]:
        """The filter as JSON-able facts; `from_json` builds an equal one from them."""
        return {"table": self.table, "column": self.column, "values": list(self.values)}

    @staticmethod
    def from_json(facts: Any) -> Where:
        """The filter that `to_json` described.

        Raises:
            InvalidRequestError: the facts describe none.
        """
        if not isinstance(facts, Mapping) or set(facts) != {"table", "column", "values"}:
            raise InvalidRequestError(f"where={facts!r:.80}: expected an object of table, column and values")
        if not isinstance(facts["values"], list):
            raise InvalidRequestError(f"values={facts['values']!r:.60}: expected an array")
        return Where(facts["table"], facts["column"], isin=facts["values"])


def _value(value: Any) -> Value:
    if isinstance(value, bool | str):
        return value
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    raise InvalidRequestError(f"value {value!r:.60} of a filter: expected a bool, an integer or a text")
