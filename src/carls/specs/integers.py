"""Checks of numbers in specs."""

from __future__ import annotations

import numbers
from typing import Any

from carls.errors import InvalidSpecError


def check_integer(name: str, value: Any, least: int, most: int) -> int:
    """Return `value` as an int, if it is one from `least` to `most`.

    Raises:
        InvalidSpecError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        raise InvalidSpecError(f"{name}={value!r:.60}: expected an integer from {least} to {most}")
    return int(value)
