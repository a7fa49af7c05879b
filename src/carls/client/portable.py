"""Tables whose rows move: out to Arrow, pandas and Parquet, and in from there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa

from carls.client.arguments import integer, truth
from carls.client.keyed import KeyedTable
from carls.client.parquet import write_parquet
from carls.client.results import RowsMeta
from carls.client.sequence import Build
from carls.client.sources import PIECE_ROWS, Source, opened
from carls.client.tabular import Held, Moved, TableColumns
from carls.errors import InvalidKeyError, InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.specs import KeyedSpec, spec_from_json

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=KeyedSpec)


class PortableTable(KeyedTable[S]):
    """What all tables can do with their rows as a whole.

    Rows have the column `key`, and an embedding table's `value` (lists of `dim` float32), a
    feature table's own columns. With metadata come `version`, `count`, `step`, `written` (a
    timestamp, by the clock of this machine) and `producer`; with the optimizer's state `state`
    (lists of float32), unless there is none. Names that a feature table has itself get an
    underscore in front. The schema's metadata says under `carls`, as JSON, which table the rows
    are of, its spec, its learning rate, and the parts of the state.

    Rows are read page by page while others write: each is as it was at some time between start
    and end. Rows that are there all the time come exactly once.
    """

    def to_batches(
        self,
        batch: int = PIECE_ROWS,
        metadata: bool = False,
        state: bool = False,
        timeout_s: float | None = None,
    ) -> pa.RecordBatchReader:
        """All rows, as a stream of record batches that is read while it is used.

        Args:
            batch: most rows of a record batch.
            metadata: whether to give version, count, step, time and producer of each row.
            state: whether to give the optimizer's state too, and with it the metadata.
            timeout_s: deadline of each batch; default the bank's.

        Raises:
            InvalidRequestError: state of a feature table.
            CarlsError: also while batches are read, as of `scan`.
        """
        rows = integer("batch", batch, 1)
        columns, info = self._columns(metadata, state)
        schema = columns.schema(info)
        walk = self._walk(rows, truth("state", state), timeout_s)
        pages = (columns.batch(schema, keys, found) for keys, found in walk)
        return pa.RecordBatchReader.from_batches(schema, pages)

    def to_arrow(
        self, metadata: bool = False, state: bool = False, timeout_s: float | None = None
    ) -> pa.Table:
        """All rows in memory; arguments and errors as for `to_batches`."""
        return self.to_batches(metadata=metadata, state=state, timeout_s=timeout_s).read_all()

    def to_pandas(
        self, metadata: bool = False, state: bool = False, timeout_s: float | None = None
    ) -> pd.DataFrame:
        """All rows as a data frame, values as numpy arrays; arguments and errors as for `to_batches`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401 - to_arrow() needs it below
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        return self.to_arrow(metadata, state, timeout_s).to_pandas()

    def to_parquet(
        self,
        path: str | Path,
        metadata: bool = False,
        state: bool = False,
        overwrite: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Write all rows to a Parquet file; returns how many.

        Memory stays at some 64 MiB, however large the table. The file appears under its name when
        it is whole and on disk; where that fails, nothing is left behind.

        Args:
            path: of the file, on this machine.
            metadata, state, timeout_s: as for `to_batches`.
            overwrite: whether a file of that name may be replaced.

        Raises:
            InvalidRequestError: there is such a file, or it cannot be written there.
            CarlsError: as of `to_batches`.
        """
        reader = self.to_batches(metadata=metadata, state=state, timeout_s=timeout_s)
        return write_parquet(Path(path), reader, truth("overwrite", overwrite))

    def load(
        self,
        source: Any,
        metadata: bool = False,
        state: bool = False,
        step: int = -1,
        timeout_s: float | None = None,
    ) -> int:
        """Set the rows that `source` has; returns how many. Other rows of the table stay.

        Values alone are assigned, as by `assign`: each row is one version newer, made by this
        bank's producer at `step`. With `metadata` rows get the version, count, step, time and
        producer that the source tells; ages go back to 318 days before the bank's start at most.
        With `state` rows get the optimizer's state too, and with it the metadata: pushes go on as if
        the row had always been here, given the same optimizer and learning rate.

        A load is many writes, each applied once, whatever gets lost on the way. If the load is
        interrupted, the rows of the writes before are set and the others are as they were; loading
        again is safe. The source is checked as a whole before anything is written; a
        `RecordBatchReader`, which can be read only once, is checked write by write.

        Args:
            source: path of a Parquet file, a pyarrow `Table`, `RecordBatch` or `RecordBatchReader`,
                or what has `__arrow_c_stream__`, as data frames of polars and pandas do.
                Columns as of `to_batches`; further ones are ignored. Where a key repeats, its last
                row stays.
            metadata: whether to take the metadata over.
            state: whether to take the optimizer's state over. The source must say that it is of the
                same optimizer, whose arguments may be others.
            step: of rows without metadata, as for `assign`.
            timeout_s: deadline of each write; default the bank's.

        Raises:
            InvalidValueError: missing or wrong columns, nulls, NaN or infinity, a damaged file.
            InvalidKeyError, SpecMismatchError: keys of another type, rows of another dim or kind.
            OutcomeUnknownError: no reply in time; load again.
        """
        columns, _ = self._columns(metadata, state)
        if step != -1 and (metadata or state):
            raise InvalidRequestError(f"step={step} with metadata, which has each row's step: leave it out")
        with opened(source) as rows:
            columns.check(rows.schema)
            if rows.again:
                for _ in _moved(rows, columns):
                    pass
            count = 0
            for moved in _moved(rows, columns):
                self._write(self._moves(moved, step), timeout_s)
                count += len(moved.keys)
        return count

    # --- for each kind ---

    @abstractmethod
    def _held(self, spec: S, state: bool) -> Held:
        """The columns of what the table holds."""

    @abstractmethod
    def _walk(self, batch: int, state: bool, timeout_s: float | None) -> Iterator[tuple[Keys, RowsMeta]]:
        """All rows, as `_held` takes them."""

    @abstractmethod
    def _moves(self, moved: Moved, step: int) -> Sequence[Build]:
        """Builders of the requests that set rows; `step` where they have no metadata."""

    def _columns(self, metadata: bool, state: bool) -> tuple[TableColumns, Any]:
        """The table's columns by its spec of now, whose key type may have been open at first."""
        told = truth("metadata", metadata) or truth("state", state)
        info = self.describe()
        spec = cast("S", spec_from_json(info.spec))
        return TableColumns(self.name, spec, self._held(spec, state), told, state), info


def _moved(source: Source, columns: TableColumns) -> Iterator[Moved]:
    first = 0
    for batch in source.batches(columns.names):
        try:
            yield columns.read(batch)
        except (InvalidKeyError, InvalidValueError) as error:
            last = first + batch.num_rows - 1
            where = f"rows {first} to {last} of {source.name}"
            raise type(error)(f"{where}: {error.message}", table=error.table) from None
        first += batch.num_rows
