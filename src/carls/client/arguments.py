"""Checks of what users pass to handles, the same for every kind of bank."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from carls.errors import InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.messages import AgeBound

#: Longest deadline, in seconds: a day.
_MAX_SECONDS = 86_400.0
_INT64 = 2**63


def seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """`value` as a number of seconds above 0 (or from 0 on, if `zero`), at most a day.

    Raises:
        InvalidRequestError: it is no such number.
    """
    expected = f"seconds, a number {'0 or more' if zero else 'above 0'}, at most {_MAX_SECONDS:g}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidRequestError(f"{name}={value!r:.60}: expected {expected}")
    number = float(value)
    if math.isnan(number) or number < 0 or (number == 0 and not zero) or number > _MAX_SECONDS:
        raise InvalidRequestError(f"{name}={value!r}: expected {expected}")
    return number


def integer(name: str, value: Any, least: int, most: int = _INT64 - 1) -> int:
    """`value`, a Python or numpy integer, as an int from `least` to `most`.

    Raises:
        InvalidRequestError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        raise InvalidRequestError(f"{name}={value!r:.60}: expected an integer from {least} to {most}")
    return int(value)


def truth(name: str, value: Any) -> bool:
    """`value`, a Python or numpy bool.

    Raises:
        InvalidRequestError: it is none.
    """
    if value is True or value is False:
        return value
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise InvalidRequestError(f"{name}={value!r:.60}: expected True or False")


def age_bound(at_step: Any, max_age_steps: Any, max_age_s: Any) -> AgeBound:
    """The age bound of a look-up.

    Raises:
        InvalidRequestError: steps that are no integers >= 0, seconds that are no number >= 0, or
            `max_age_steps` without `at_step`.
    """
    if at_step is None and max_age_steps is None and max_age_s is None:
        return _ANY_AGE
    if max_age_steps is not None and at_step is None:
        raise InvalidRequestError(
            f"max_age_steps={max_age_steps} without at_step: expected at_step=, the reader's own step"
        )
    if max_age_s is not None and (
        isinstance(max_age_s, bool) or not isinstance(max_age_s, numbers.Real) or not float(max_age_s) >= 0
    ):
        raise InvalidRequestError(f"max_age_s={max_age_s!r}: expected seconds, a number 0 or more")
    return AgeBound(
        None if at_step is None else integer("at_step", at_step, -1),
        None if max_age_steps is None else integer("max_age_steps", max_age_steps, 0),
        None if max_age_s is None else float(max_age_s),
    )


_ANY_AGE = AgeBound()


def as_floats(what: str, matrix: Any) -> Any:
    """`matrix` as an array; anything but an array (lists, CPU tensors) is converted to float32."""
    if isinstance(matrix, np.ndarray):
        return matrix
    try:
        return np.asarray(matrix, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidValueError(
            f"{what} of type {type(matrix).__name__} are no matrix of numbers ({error}): "
            "expected a float32 array (n, dim)"
        ) from None


def some_keys(given: Any) -> Keys | None:
    """`given` as keys; None where it is None, or has none.

    Raises:
        InvalidKeyError: keys that cannot be.
    """
    empty = given is None or (not isinstance(given, Keys) and hasattr(given, "__len__") and len(given) == 0)
    return None if empty else Keys.of(given)
