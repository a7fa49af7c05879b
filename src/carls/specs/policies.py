"""What all policies share: a small frozen object with a name, JSON in and out."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, cast

from carls.errors import InvalidSpecError

P = TypeVar("P", bound="Policy")

LARGEST_FLOAT32 = (2 - 2.0**-23) * 2.0**127
SMALLEST_FLOAT32 = 2.0**-126


@dataclasses.dataclass(frozen=True)
class Policy:
    """A named choice with arguments, such as an optimizer or an initializer.

    Arguments are numbers; truths or words where the default is one; or None where the default is None.
    """

    name: ClassVar[str]
    #: The module that users import it from.
    home: ClassVar[str] = "carls"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if isinstance(field.default, bool):
                if not isinstance(value, bool):
                    raise InvalidSpecError(
                        f"{type(self).__name__}({field.name}={value!r:.60}): expected True or False"
                    )
                continue
            if isinstance(field.default, str):
                if not isinstance(value, str):
                    raise InvalidSpecError(
                        f"{type(self).__name__}({field.name}={value!r:.60}): expected a str, "
                        f"such as {field.default!r}"
                    )
                continue
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise InvalidSpecError(
                    f"{type(self).__name__}({field.name}={value!r:.60}): expected a number, "
                    f"got {type(value).__name__}"
                )
            # Rows are float32: what that cannot hold would make them infinite.
            if not abs(cast("float", value)) <= LARGEST_FLOAT32:
                raise InvalidSpecError(
                    f"{type(self).__name__}({field.name}={value!r:.60}): expected a finite number, "
                    f"at most {LARGEST_FLOAT32:.4g} in size"
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
    if isinstance(value, base) and type(value) in choices.values():
        return value
    arguments: dict[str, Any] = {}
    name = value
    if isinstance(value, Mapping):
        arguments = dict(value)
        name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in choices:
        raise InvalidSpecError(
            f"unknown {base.__name__.lower()} {value!r}: expected one of {sorted(choices)} "
            f"or an object such as {base.home}.{next(iter(choices.values())).__name__}(...)"
        )
    try:
        return choices[name](**arguments)
    except TypeError as error:
        raise InvalidSpecError(f"{base.__name__.lower()} {value!r}: {error}") from None
