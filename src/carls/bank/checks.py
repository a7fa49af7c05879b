"""Checks of what a request carries, before anything is changed."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from carls import _core
from carls.errors import InvalidRequestError, InvalidValueError
from carls.messages import AgeBound, Floats, Meta, Vectors
from carls.specs import EmbeddingSpec
from carls.specs.embeddings import MAX_TRAINED
from carls.vectors import LARGEST, as_dtype

#: Longest wait of one request, in seconds.
MAX_WAIT_S = 86_400.0

_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))
_ANY_STEP = -(2**63)
_LAST_STEP = 2**63 - 1


def check_shape(what: str, table: str, array: npt.NDArray[Any], rows: int, dim: int) -> Vectors:
    """`array` in C order, if it is a float32 or float16 matrix (rows, dim).

    Raises:
        InvalidValueError: naming the shape or dtype.
    """
    if array.dtype not in _FLOATS:
        raise InvalidValueError(
            f"{what} for table {table!r} have dtype {array.dtype}: expected float32 or float16; "
            f"convert them with {what}.astype('float32')",
            table=table,
        )
    if array.shape != (rows, dim):
        raise InvalidValueError(
            f"{what} for table {table!r} have shape {array.shape}: expected ({rows}, {dim}), "
            f"a row of dim {dim} for each of the {rows} keys",
            table=table,
        )
    return np.ascontiguousarray(array)


def check_values(table: str, array: npt.NDArray[Any], rows: int, dim: int, largest: float) -> Vectors:
    """As `check_shape` for values, and all elements are at most `largest` in size.

    Raises:
        InvalidValueError: naming the shape, the dtype or the first element that cannot be.
    """
    return check_size("values", table, check_shape("values", table, array, rows, dim), largest)


def check_gradients(table: str, array: npt.NDArray[Any], rows: int, dim: int) -> Vectors:
    """As `check_shape` for gradients, and all elements are at most 1e15 / rows in size, so that
    sums of equal keys are at most 1e15: squares of larger ones would make the optimizer's state
    infinite.

    Raises:
        InvalidValueError: naming the shape, the dtype or the first element that is too large.
    """
    return check_size(
        "gradients", table, check_shape("gradients", table, array, rows, dim), MAX_TRAINED / max(rows, 1)
    )


def check_size(what: str, table: str, array: Vectors, limit: float) -> Vectors:
    """`array`, if all elements are finite and at most `limit` in size.

    Raises:
        InvalidValueError: naming the first element that is not.
    """
    if not _core.all_within(array, limit):
        row, column = np.argwhere(~(np.abs(array.astype(np.float64)) <= limit))[0]
        largest = ", the largest float16; use float32 for more" if limit == LARGEST["float16"] else ""
        raise InvalidValueError(
            f"{what} for table {table!r} hold {array[row, column]} at row {row}, element {column}: "
            f"expected finite numbers, at most {limit:.5g} in size{largest}; nothing was changed",
            table=table,
        )
    return array


def check_step(step: int) -> int:
    """`step` if it is an int64 of at least -1 (-1: not said)."""
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or not -1 <= step <= _LAST_STEP:
        raise InvalidRequestError(f"step={step!r}: expected an integer >= 0, or -1 for not said")
    return int(step)


def check_meta(table: str, meta: Meta, rows: int) -> Meta:
    """`meta` if it tells of `rows` rows what can be: steps of at least -1 and ages of finite seconds >= 0.

    Raises:
        InvalidValueError: naming the first that cannot be.
    """
    if len(meta) != rows:
        raise InvalidValueError(
            f"metadata of {len(meta)} rows for {rows} keys of table {table!r}", table=table
        )
    for field, holds, expected in (
        ("step", meta["step"] >= -1, "a step >= 0, or -1 for not said"),
        ("age", (meta["age"] >= 0) & np.isfinite(meta["age"]), "finite seconds >= 0"),
    ):
        if not holds.all():
            row = int(np.flatnonzero(~holds)[0])
            raise InvalidValueError(
                f"{field} {meta[field][row]} of row {row} for table {table!r}: expected {expected}; "
                "nothing was changed",
                table=table,
            )
    return meta


def check_records(table: str, spec: EmbeddingSpec, records: npt.NDArray[Any], rows: int) -> Floats:
    """`records` as float32 in C order, if they are `rows` values, (rows, dim), or values with the
    optimizer's state behind them, and can be a table's: values as `check_values` has them, state finite,
    and its sums of squares and counts not negative.

    Raises:
        InvalidValueError: naming the shape, the dtype or the first element that cannot be.
    """
    dim, slots = spec.dim, spec.slots
    width = dim + spec.state_floats
    if records.ndim != 2 or records.shape[1] != width:
        return cast("Floats", as_dtype(check_values(table, records, rows, dim, spec.largest), "float32"))
    floats: Floats = as_dtype(check_shape("values", table, records, rows, width), "float32")
    check_values(table, floats[:, :dim], rows, dim, spec.largest)
    start = dim
    for slot in slots:
        part = np.ascontiguousarray(floats[:, start : start + slot.size(dim)])
        start += slot.size(dim)
        check_size(f"state {slot.name!r}", table, part, LARGEST["float32"])
        if not slot.signed and rows and part.min() < 0:
            row, column = np.argwhere(part < 0)[0]
            raise InvalidValueError(
                f"state {slot.name!r} for table {table!r} holds {part[row, column]} at row {row}, element "
                f"{column}: expected 0 or more; nothing was changed",
                table=table,
            )
    return floats


def least_step(bound: AgeBound) -> int:
    """The smallest step that `bound` accepts as fresh.

    Raises:
        InvalidRequestError: a negative age, or one of the two step bounds without the other.
    """
    at_step, max_age_steps, max_age_s = bound
    if max_age_s is not None and not max_age_s >= 0:
        raise InvalidRequestError(f"max_age_s={max_age_s!r}: expected seconds >= 0")
    if max_age_steps is None:
        return _ANY_STEP
    if max_age_steps < 0:
        raise InvalidRequestError(f"max_age_steps={max_age_steps!r}: expected a number of steps >= 0")
    if at_step is None:
        raise InvalidRequestError(
            f"max_age_steps={max_age_steps} without at_step: expected at_step=, the reader's own step"
        )
    return max(at_step - max_age_steps, _ANY_STEP)


def check_wait(wait_s: float) -> float:
    """`wait_s` if it is a number of seconds that a request may wait, 0 to a day."""
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise InvalidRequestError(f"wait_s={wait_s!r}: expected seconds from 0 to {MAX_WAIT_S:g}")
    return wait_s


def check_producer(name: str) -> str:
    """`name` if it can name a producer: 1 to 200 characters that UTF-8 can encode."""
    try:
        if isinstance(name, str) and 0 < len(name) <= 200 and name.encode():
            return name
    except UnicodeEncodeError:
        pass
    raise InvalidRequestError(f"producer={name!r:.60}: expected a name of 1 to 200 characters")
