"""Searches through an index, while another thread rewrites a share of the rows each second.

One query at a time, top 10 by cosine, each asked through the index and of every row in turn; recall is
the share of the latter's keys that the former has too. After each such pair a row is written anew
and asked for at once. Rows are drawn around 1000 centres or, harder, in 16 of the dimensions with a little
of all others; rewritten rows are drawn alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from rich.console import Console

import carls
from benchmarks.comparison import titled
from benchmarks.tables import Matrix, fill
from carls.cli.bench.timing import summarize
from carls.cli.results import Result

K = 10
#: Rows rewritten each second, as a share of all.
SHARES = (0.0, 0.01, 0.1)
#: Lists that a query looks at, for each kind of data.
PROBES = {"centres": 8, "16 dimensions": 32}
CONFIG = {"k": K, "metric": "cosine", "probes": PROBES, "shares": SHARES}
#: Seconds of rewriting before anything is timed, and while it is.
LEAD_S, TIMED_S = 5.0, 20.0
_TICK_S = 0.1
_LONGEST_S = 600.0


def drawing(kind: str, dim: int) -> Callable[[int], Matrix]:
    """What draws rows of a kind, (n, dim)."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((1000, dim), np.float32)
    directions = rng.standard_normal((16, dim), np.float32) / 4

    def draw(n: int) -> Matrix:
        noise = rng.standard_normal((n, dim), np.float32)
        if kind == "centres":
            rows: Matrix = centres[rng.integers(0, 1000, n)] + np.float32(0.7) * noise
        else:
            rows = rng.standard_normal((n, 16), np.float32) @ directions + np.float32(0.1) * noise
        return rows

    return draw


class Rewriting:
    """A thread that rewrites a share of the rows each second.

    Args:
        table: whose keys are 0 to rows - 1.
        values: that rows are set to, in turn.
        rows: of the table.
        share: of the rows, each second.
    """

    def __init__(self, table: carls.EmbeddingTable, values: Matrix, rows: int, share: float) -> None:
        self._table, self._values, self._rows = table, values, rows
        self._each = round(rows * share * _TICK_S)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.written = 0

    def __enter__(self) -> Rewriting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        rng, due = np.random.default_rng(4), time.monotonic()
        while self._each and not self._over.wait(max(due - time.monotonic(), 0)):
            due = max(due, time.monotonic() - 1) + _TICK_S
            start = int(rng.integers(0, len(self._values) - self._each + 1))
            keys = rng.choice(self._rows, self._each, replace=False)
            self._table.assign(keys, self._values[start : start + self._each])
            self.written += self._each


def _await_index(table: carls.EmbeddingTable) -> float:
    """Seconds until the index was built and up to date."""
    start, pause = time.monotonic(), threading.Event()
    while time.monotonic() < start + _LONGEST_S:
        index = table.statistics().index
        if index is not None and index.builds and not index.changed:
            return time.monotonic() - start
        pause.wait(0.02)
    raise TimeoutError(f"the index was not up to date after {_LONGEST_S} s")


def _run(
    table: carls.EmbeddingTable, draw: Callable[[int], Matrix], title: str, seconds: tuple[float, float]
) -> list[Result]:
    """The figures of one share, while somebody rewrites rows."""
    queries = draw(500)
    names = ("carls, index", "carls, every row")
    times: dict[str, list[float]] = {name: [] for name in names}
    shared, found, changed = [], [], []
    start, turn = time.monotonic(), 0
    while time.monotonic() < start + sum(seconds) or len(times[names[0]]) < 20:
        query, answers = queries[turn % 500][None], []
        for name, index in zip(names, ("auto", "exact"), strict=True):
            begun = time.perf_counter()
            answers.append(set(table.nearest(query, k=K, metric="cosine", index=index).keys))
            if time.monotonic() > start + seconds[0]:
                times[name].append(time.perf_counter() - begun)
        key, value = -1 - turn % 1000, draw(1)  # nobody else rewrites it
        table.assign([key], value)
        found.append(table.nearest(value, k=1, metric="cosine").keys[0] == key)
        shared.append(len(answers[0] & answers[1]) / K)
        facts = table.statistics().index
        changed.append(facts.changed if facts else 0)
        turn += 1
    results = summarize({name: np.array(values) for name, values in times.items()}, 1)
    mine = names[0]
    results += [
        Result(mine, "recall", float(np.mean(shared)), "", None, len(shared)),
        Result(mine, "just written, found", 100 * float(np.mean(found)), "%", None, len(found)),
        Result(mine, "changed rows", float(np.mean(changed)), "rows", None, len(changed)),
    ]
    plain = [replace(one, unit="queries/s") if one.metric == "rate" else one for one in results]
    return titled(title, plain)


def measure(rows: int, dim: int, quick: bool, console: Console) -> Iterator[list[Result]]:
    """The figures of each kind of data and share, one list each."""
    seconds = (0.0, 0.2) if quick else (LEAD_S, TIMED_S)
    for kind, probes in PROBES.items():
        draw = drawing(kind, dim)
        with carls.connect() as bank:
            table = bank.embeddings("bench", dim=dim)
            fill(table, np.arange(rows), draw(rows))
            table.set_index(carls.IVF(metric="cosine", probes=probes))
            with console.status(f"search: index of {rows} rows, {kind}"):
                built = _await_index(table)
            values = draw(max(rows // 4, 100))
            for share in SHARES:
                title = f"{kind}, {rows} x {dim}, {share:.0%} rewritten a second"
                with console.status(f"search: {title}"), Rewriting(table, values, rows, share) as rewriting:
                    start = time.monotonic()
                    part = _run(table, draw, title, seconds)
                    rate = rewriting.written / (time.monotonic() - start)
                case = part[0].case
                part.append(Result(case, "rewritten", rate, "rows a second"))
                if share == SHARES[0]:
                    part.append(Result(case, "index built", built, "s"))
                yield part
                _await_index(table)
