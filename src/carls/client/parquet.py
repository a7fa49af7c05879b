"""Parquet files of whole tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from carls.client.published import published

#: Bytes of rows that are gathered into one row group.
GROUP_NBYTES = 16 << 20


def write_parquet(path: Path, rows: pa.RecordBatchReader, overwrite: bool) -> int:
    """Write all rows to `path`; returns how many.

    Raises:
        InvalidRequestError: there is such a file and it may not be replaced, or it cannot be written.
    """
    with published(path, overwrite) as file:
        return _write(file, rows)


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
