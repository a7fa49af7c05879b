"""Samples of one task, from a Parquet or CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from carls.errors import InvalidRequestError, InvalidValueError

_READERS = {".parquet": pyarrow.parquet.read_table, ".csv": pyarrow.csv.read_csv}


@dataclass(frozen=True, eq=False)
class FileSamples:
    """What a node works on.

    Attributes:
        names: of the features, in the order of the model's elements: by name, so that all sites
            with the same columns agree.
        features: (n, dim) float64, finite.
        targets: (n,) float64; NaN where missing.
        weights: (n,) float64, or None.
    """

    names: tuple[str, ...]
    features: Any
    targets: Any
    weights: Any

    @staticmethod
    def read(
        path: Path, target: str, features: Sequence[str] | None = None, weights: str | None = None
    ) -> FileSamples:
        """Read them.

        Args:
            path: a .parquet or .csv file with a row for each sample.
            target: the column to predict; a missing value is one that is not known.
            features: the columns to predict from; None: all other columns of numbers.
            weights: the column of the samples' weights; None: all count alike.

        Raises:
            InvalidRequestError: no such file or column.
            InvalidValueError: no rows, no known target, or columns that are no finite numbers.
        """
        table = _read(path)
        if not len(table):
            raise InvalidValueError(f"{path} has no rows: expected one for each sample")
        named = [name for name in (target, weights) if name is not None]
        if features is None:
            features = [
                field.name for field in table.schema if field.name not in named and _numeric(field.type)
            ]
        missing = [name for name in (*named, *features) if name not in table.column_names]
        if missing:
            raise InvalidRequestError(
                f"{path} has no column {', '.join(map(repr, missing))}: expected some of "
                f"{str(table.column_names)[:400]}"
            )
        several = [name for name in (*named, *features) if table.column_names.count(name) > 1]
        if several:
            raise InvalidRequestError(f"{path} has several columns {several[0]!r}: expected one of each name")
        twice = sorted({name for name in features if features.count(name) > 1 or name in named})
        if twice or not features:
            raise InvalidRequestError(
                f"features {features}: expected one column of numbers at least, each once, not the target or "
                "the weights"
            )
        names = tuple(sorted(features))
        targets = _numbers(path, table, target)
        if np.isnan(targets).all():
            raise InvalidValueError(
                f"column {target!r} of {path} has no value: expected one known target at least"
            )
        return FileSamples(
            names,
            np.stack([_finite(path, table, name) for name in names], axis=1),
            targets,
            None if weights is None else _finite(path, table, weights),
        )


def _read(path: Path) -> pa.Table:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidRequestError(f"{path}: expected a file that ends in {' or '.join(_READERS)}")
    try:
        return reader(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidRequestError(f"cannot read {path}: {str(error)[:300]}") from None


def _numeric(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in kinds)


def _numbers(path: Path, table: pa.Table, name: str) -> Any:
    """A column as float64; NaN where a value is missing."""
    column = table.column(name)
    if not _numeric(column.type) and not pa.types.is_null(column.type):
        raise InvalidValueError(
            f"column {name!r} of {path} holds values of type {column.type}: expected numbers; encode it first"
        )
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _finite(path: Path, table: pa.Table, name: str) -> Any:
    values = _numbers(path, table, name)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise InvalidValueError(
            f"column {name!r} of {path} has {len(wrong)} values that are missing or infinite, the first in "
            f"row {wrong[0]}: expected finite numbers; impute them first"
        )
    return values
