"""What messages about rows share: metadata, arrays, the identity of a write, a bound on age."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

#: What is told about each row, 32 bytes: how often written, how often looked up for training,
#: the producer's step (-1: never said), seconds since the last write by the bank's clock, the
#: producer as an index into the bank's list of names, and three truths.
ROW_META = np.dtype(
    [
        ("version", "<u4"),
        ("count", "<u4"),
        ("step", "<i8"),
        ("age", "<f8"),
        ("producer", "<u4"),
        ("found", "?"),
        ("created", "?"),
        ("fresh", "?"),
        ("reserved", "u1"),
    ]
)

Floats: TypeAlias = npt.NDArray[np.float32]
#: Vectors, float32 or float16.
Vectors: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Meta: TypeAlias = npt.NDArray[np.void]
Int64s: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class WriteId(NamedTuple):
    """Identity of a write: the same one is never applied twice.

    Attributes:
        client: 128 random bits as 32 hex digits, one per handle and process.
        sequence: 1, 2, 3, ... per client and table.
        first: whether the client has never had a write acknowledged by this bank; an unknown
            client whose write is not its first is an error, never a second application.
    """

    client: str
    sequence: int
    first: bool


class AgeBound(NamedTuple):
    """What a reader accepts as fresh: rows whose step is at least `at_step - max_age_steps`
    and whose age is at most `max_age_s` seconds; None where it does not care."""

    at_step: int | None = None
    max_age_steps: int | None = None
    max_age_s: float | None = None


class Done(NamedTuple):
    """A reply that says no more than that it was done."""
