"""Options that the benchmarks share. None stands for the benchmark's own choice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.plan import Distribution

Keys = Annotated[
    list[Distribution] | None, typer.Option("--keys", help="How often each row is asked for; may repeat.")
]
Batch = Annotated[list[int] | None, typer.Option("--batch", min=1, help="Keys of a call; may repeat.")]
Dim = Annotated[list[int] | None, typer.Option("--dim", min=1, help="Elements of a row; may repeat.")]
Rows = Annotated[int | None, typer.Option("--rows", min=1, help="Rows of the table.")]
Calls = Annotated[int | None, typer.Option("--calls", min=20, help="Calls of each case.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Tiny tables, few calls: shows that it runs, and measures nothing.")
]
Json = Annotated[Path | None, typer.Option("--json", help="File to write the results to.")]
