"""`python -m benchmarks`: every benchmark in turn, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import options

#: Modules in the order that they run and are reported in. Each has `--quick` and `--json FILE`.
SUBJECTS = (
    "lookup",
    "push",
    "threads",
    "remote",
    "redis_server",
    "training_step",
    "neighbours",
    "optimizers",
    "stalls",
    "memory",
    "export",
    "growth",
    "gaussian_memory",
    "sampling",
    "search",
    "asynchrony",
    "task_nodes",
    "constants",
    "makers",
)


def main(
    subjects: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(SUBJECTS)}.")] = None,
    quick: options.Quick = False,
    out: Annotated[Path, typer.Option(help="Folder for the results, a JSON file each.")] = Path("out/bench"),
) -> None:
    """Run the benchmarks and write their results; all of them by default."""
    unknown = sorted(set(subjects or ()) - set(SUBJECTS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(SUBJECTS)}")
    for subject in subjects or SUBJECTS:
        command = [sys.executable, "-m", f"benchmarks.{subject}", "--json", str(out / f"{subject}.json")]
        subprocess.run(command + ["--quick"] * quick, check=True)


if __name__ == "__main__":
    typer.run(main)
