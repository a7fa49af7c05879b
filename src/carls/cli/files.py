"""`carls export` and `carls import`: a table of a bank to a Parquet file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

import carls
from carls.client.sources import opened
from carls.client.tabular import read_origin
from carls.errors import InvalidRequestError, UnknownTableError

BankUrl = Annotated[str, typer.Option(help="URL of the bank.")]
TableName = Annotated[str, typer.Option(help="Name of the table.")]
Timeout = Annotated[float, typer.Option(help="Longest wait for an answer, in seconds.")]
ParquetFile = Annotated[Path, typer.Argument(help="Parquet file.")]
_URL = "grpc://127.0.0.1:7070"


def export(
    file: ParquetFile,
    table: TableName,
    bank: BankUrl = _URL,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="With each row's version, count, step, time and producer.")
    ] = False,
    state: Annotated[
        bool, typer.Option("--state", help="With the optimizer's state too, and the metadata.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    timeout_s: Timeout = 10.0,
) -> None:
    """Write a table to a Parquet file, which appears when it is whole."""
    with _connect(bank, timeout_s) as connection, connection.open(table) as rows:
        count = _with_rows(rows).to_parquet(file, metadata, state, overwrite)
    size = file.stat().st_size / (1 << 20)
    _say(f"{count:,} rows of {escape(table)} written to {escape(str(file))}, {size:,.1f} MiB")


def import_(
    file: ParquetFile,
    table: TableName,
    bank: BankUrl = _URL,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Take each row's version, count, step, time and producer over.")
    ] = False,
    state: Annotated[
        bool, typer.Option("--state", help="Take the optimizer's state over too, and the metadata.")
    ] = False,
    timeout_s: Timeout = 10.0,
) -> None:
    """Load a Parquet file into a table, which is made as the file says if it is not there."""
    with _connect(bank, timeout_s) as connection:
        with _opened_or_made(connection, table, file) as rows:
            count = rows.load(file, metadata, state)
    _say(f"{count:,} rows of {escape(str(file))} loaded into {escape(table)}")


def _connect(bank: str, timeout_s: float) -> carls.Bank:
    if bank == "memory://":
        raise InvalidRequestError(
            "--bank memory://: such a bank is seen by its own process alone; use its tables' to_parquet() "
            "and load() there, or give the URL of a bank server"
        )
    return carls.connect(bank, timeout_s=timeout_s)


def _with_rows(table: Any) -> carls.EmbeddingTable | carls.FeatureTable:
    if isinstance(table, carls.EmbeddingTable | carls.FeatureTable):
        return table
    raise InvalidRequestError(
        f"table {table.name!r} is a table of kind {table.spec.kind!r}, which has no rows: use "
        f"{'models()' if isinstance(table, carls.TaskTable) else 'to_safetensors() and load()'} of the table",
        table=table.name,
    )


def _opened_or_made(bank: carls.Bank, table: str, file: Path) -> carls.EmbeddingTable | carls.FeatureTable:
    try:
        return _with_rows(bank.open(table))
    except UnknownTableError:
        with opened(file) as source:
            origin = read_origin(source.schema)
        if origin is None:
            raise InvalidRequestError(
                f"there is no table {table!r} in {bank.url}, and {file} does not say how to make it: open it "
                "first, for instance with bank.embeddings(name, dim=...)",
                table=table,
            ) from None
        return _with_rows(bank.open(table, origin.spec))


def _say(line: str) -> None:
    Console(highlight=False).print(line, soft_wrap=True)
