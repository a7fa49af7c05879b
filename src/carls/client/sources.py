"""Where rows are loaded from: Parquet files and whatever speaks Arrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from carls.errors import CarlsError, InvalidRequestError, InvalidValueError

#: Rows that are read and written at once.
PIECE_ROWS = 4096


@dataclass(frozen=True)
class Source:
    """Rows to load.

    Attributes:
        name: for messages.
        schema: of all batches.
        again: whether the rows can be read more than once.
        read: gives the batches of some columns.
    """

    name: str
    schema: pa.Schema
    again: bool
    read: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, up to `PIECE_ROWS` at a time.

        Raises:
            InvalidValueError: they cannot be read.
        """
        rows = self.read(columns)
        while True:
            try:
                batch = next(rows, None)
                if batch is not None:
                    batch.validate(full=True)
            except CarlsError:  # of another bank, some of which are of the system's kinds too
                raise
            except (pa.ArrowException, OSError) as error:
                raise InvalidValueError(f"{self.name} cannot be read: {error}") from error
            if batch is None:
                return
            for start in range(0, batch.num_rows, PIECE_ROWS):
                yield batch.slice(start, PIECE_ROWS)


@contextmanager
def opened(source: Any) -> Iterator[Source]:
    """What `PortableTable.load` takes, ready to be read.

    Raises:
        InvalidValueError: a file that cannot be read.
        InvalidRequestError: there is no such file, or it is something else altogether.
    """
    if isinstance(source, str | os.PathLike):
        with _parquet(Path(source)) as file:
            yield Source(
                str(source),
                file.schema_arrow,
                True,
                lambda columns: file.iter_batches(PIECE_ROWS, columns=list(columns), use_threads=False),
            )
        return
    name = f"the {type(source).__name__}"
    if isinstance(source, pa.RecordBatchReader):
        yield Source(name, source.schema, False, lambda _: iter(source))
        return
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    elif not isinstance(source, pa.Table):
        if not hasattr(source, "__arrow_c_stream__"):
            raise InvalidRequestError(
                f"rows to load of type {type(source).__name__}: expected the path of a Parquet file, a "
                "pyarrow Table, RecordBatch or RecordBatchReader, or a data frame with __arrow_c_stream__"
            )
        source = pa.RecordBatchReader.from_stream(source).read_all()
    yield Source(name, source.schema, True, lambda _: iter(source.to_batches()))


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # Buffered beforehand, the whole file would stay in memory while it is read.
        file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
    except FileNotFoundError:
        raise InvalidRequestError(f"{path}: there is no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise InvalidValueError(f"{path} cannot be read as Parquet: {error}") from None
    with file:
        yield file
