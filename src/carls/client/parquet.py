"""Parquet files: written beside their name, and published whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from carls.errors import CarlsError, InvalidRequestError

#: Bytes of rows that are gathered into one row group.
GROUP_NBYTES = 16 << 20


def write_parquet(path: Path, rows: pa.RecordBatchReader, overwrite: bool) -> int:
    """Write all rows to `path`; returns how many.

    Raises:
        InvalidRequestError: there is such a file and it may not be replaced, or it cannot be written.
    """
    if path.is_dir() or (path.exists() and not overwrite):
        raise _there(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            count = _write(file, rows)
            file.flush()
            os.fsync(file.fileno())
        _publish(part, path, overwrite)
    except CarlsError:  # some are of the system's kinds too
        raise
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _write(file: object, rows: pa.RecordBatchReader) -> int:
    count, nbytes = 0, 0
    gathered: list[pa.RecordBatch] = []
    # Dictionaries of floats cost much and save nothing; those of producers save nearly all.
    repeated = [name for name in rows.schema.names if name.lstrip("_") == "producer"]
    with pq.ParquetWriter(file, rows.schema, use_dictionary=repeated, write_page_checksum=True) as writer:
        for batch in rows:
            gathered.append(batch)
            count, nbytes = count + batch.num_rows, nbytes + batch.nbytes
            if nbytes >= GROUP_NBYTES:
                writer.write_table(pa.Table.from_batches(gathered))
                gathered, nbytes = [], 0
        if gathered:
            writer.write_table(pa.Table.from_batches(gathered))
    return count


def _publish(part: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, path)
        return
    # A link fails where somebody has made such a file meanwhile; a renaming would replace it.
    try:
        os.link(part, path)
    except FileExistsError:
        raise _there(path) from None
    except OSError:  # a file system without links
        if path.exists():
            raise _there(path) from None
        os.replace(part, path)


def _there(path: Path) -> InvalidRequestError:
    return InvalidRequestError(f"{path} is there already: choose another name, or ask to overwrite it")
