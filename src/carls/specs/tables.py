"""Table specs: what a table holds, agreed once and the same for everybody who opens it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

from carls.errors import InvalidSpecError

KEY_TYPES = ("int64", "string", "bytes")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")

Spec = TypeVar("Spec", bound="KeyedSpec")


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
    """What all table specs share."""

    kind: ClassVar[str]

    def accepts(self, other: TableSpec) -> bool:
        """Whether a table of this spec may be opened as `other`."""
        return self == other

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON-able facts; `spec_from_json` builds an equal spec from them."""
        raise NotImplementedError


class KeyedSpec(TableSpec):
    """What the specs of tables share whose rows have keys.

    Attributes:
        keys: "int64", "string" or "bytes"; None until the first use fixes it.
    """

    keys: str | None

    def _check_keys(self) -> None:
        if self.keys is not None and not (isinstance(self.keys, str) and self.keys in KEY_TYPES):
            raise InvalidSpecError(f"keys={self.keys!r:.60}: expected one of {list(KEY_TYPES)} or None")

    def with_keys(self: Spec, keys: str | None) -> Spec:
        """The same spec with another key type."""
        return cast("Spec", replace(cast("Any", self), keys=keys))

    def accepts(self, other: TableSpec) -> bool:
        """Whether a table of this spec may be opened as `other`: equal, or `other` leaves keys open."""
        if self == other:
            return True
        return isinstance(other, KeyedSpec) and other.keys is None and other.with_keys(self.keys) == self
