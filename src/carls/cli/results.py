"""Results of demos and benchmarks: one JSON layout for all of them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carls.errors import InvalidRequestError
from carls.version import VERSION


@dataclass(frozen=True)
class Result:
    """One figure.

    Attributes:
        case: what was measured, such as "carls" or "baseline".
        metric: such as "accuracy" or "median call".
        value: the figure, a mean or a median.
        unit: of the value and of `sd`.
        sd: standard deviation, or None.
        n: number of seeds or calls.
        against: the case that `ratio` compares with, or None.
        ratio: value divided by the other case's value, or None.
    """

    case: str
    metric: str
    value: float
    unit: str
    sd: float | None = None
    n: int = 1
    against: str | None = None
    ratio: float | None = None

    @classmethod
    def of_seeds(
        cls,
        case: str,
        metric: str,
        unit: str,
        values: Sequence[float],
        against: str | None = None,
        others: Sequence[float] | None = None,
    ) -> Result:
        """The mean of `values`, one for each seed, and its ratio to the mean of the `others`, those of the
        case `against`; None: it is compared with nothing."""
        mean, n = float(np.mean(values)), len(values)
        return cls(
            case=case,
            metric=metric,
            value=mean,
            unit=unit,
            sd=float(np.std(values, ddof=1)) if n > 1 else None,
            n=n,
            against=None if others is None else against,
            ratio=None if others is None else mean / float(np.mean(others)),
        )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "carls": VERSION,
    }


def check_writable(path: Path) -> None:
    """Make the folder of `path` and see that a file can be written there, before any work is done.

    Raises:
        InvalidRequestError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("ab"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        raise InvalidRequestError(f"cannot write {path}: {error.strerror}; name another file") from None


def write_json(path: Path, name: str, config: Mapping[str, Any], results: Sequence[Result]) -> None:
    """Write results as JSON: name, config, machine, results."""
    facts = {
        "name": name,
        "config": dict(config),
        "machine": machine(),
        "results": [asdict(result) for result in results],
    }
    path.write_text(json.dumps(facts, indent=2) + "\n")
