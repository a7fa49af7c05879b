"""What all policies share: a small frozen object with a name, JSON in and out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from carls.errors import InvalidSpecError

P = TypeVar("P", bound="Policy")


@dataclasses.dataclass(frozen=True)
class Policy:
    """A named choice with numeric arguments, such as an optimizer or an initializer."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidSpecError(
                    f"{type(self).__name__}({field.name}={value!r}): expected a number, "
                    f"got {type(value).__name__}"
                )
            if not math.isfinite(value):
                raise InvalidSpecError(
                    f"{type(self).__name__}({field.name}={value!r}): expected a finite number"
                )
            object.__setattr__(self, field.name, float(value))

    def require(self, holds: bool, field: str, expectation: str) -> None:
        """Raise `InvalidSpecError` naming `field` and its value unless `holds`."""
        if not holds:
            raise InvalidSpecError(
                f"{type(self).__name__}({field}={getattr(self, field)!r}): expected {expectation}"
            )

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON-able facts: its name and its arguments."""
        return {"name": self.name, **dataclasses.asdict(self)}


def resolve(value: Any, base: type[P], choices: Mapping[str, type[P]]) -> P:
    """Turn a policy, its name or its JSON form into a policy of kind `base`.

    Raises:
        InvalidSpecError: unknown name or arguments, or something else altogether.
    """
    if isinstance(value, base):
        return value
    arguments: dict[str, Any] = {}
    name = value
    if isinstance(value, Mapping):
        arguments = dict(value)
        name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in choices:
        raise InvalidSpecError(
            f"unknown {base.__name__.lower()} {value!r}: expected one of {sorted(choices)} "
            f"or an object such as carls.{next(iter(choices.values())).__name__}(...)"
        )
    try:
        return choices[name](**arguments)
    except TypeError as error:
        raise InvalidSpecError(f"{base.__name__.lower()} {value!r}: {error}") from None
