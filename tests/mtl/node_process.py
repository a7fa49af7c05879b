"""A process with the nodes of some tasks, as a site of its own would run them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from problems import Problem

from carls.mtl import TaskNodes, make_task


class NodeProcess:
    """Runs this file on the named tasks of a problem, until a gap or until it is killed.

    Use it as a context manager: it is killed in the end, if it is there still.
    """

    def __init__(
        self, url: str, problem: Problem, tasks: Sequence[str], folder: Path, until_gap: float = 0.0
    ) -> None:
        self._file = folder / f"{'-'.join(tasks)[:40]}.npz"
        arrays = {}
        for name in tasks:
            index = problem.names.index(name)
            arrays[f"X/{name}"], arrays[f"y/{name}"] = problem.X[index], problem.y[index]
        np.savez(self._file, **arrays)
        settings = json.dumps([url, str(self._file), until_gap, len(problem.names)])
        self._process = subprocess.Popen(
            [sys.executable, __file__, settings], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def models(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait for its end; the model of each task."""
        said, _ = self._process.communicate(timeout=timeout_s)
        assert self._process.returncode == 0
        return {name: np.array(model) for name, model in json.loads(said).items()}

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main(url: str, file: str, until_gap: float, min_tasks: int) -> None:
    """The process."""
    with np.load(file) as data:
        names = [name.removeprefix("X/") for name in data.files if name.startswith("X/")]
        tasks = {name: make_task(data[f"X/{name}"], data[f"y/{name}"]) for name in names}
    nodes = TaskNodes(url, "table", tasks)
    nodes.run(deadline_s=120.0, until_gap=until_gap or None, min_tasks=min_tasks)
    sys.stdout.write(json.dumps({name: nodes[name].model.tolist() for name in names}))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
