"""`python -m benchmarks.aggregation`: what lazy aggregation does to learning, with faults and without.

Ratings of MovieLens (latest-small, 2016) are predicted by a matrix factorisation,
mean + b_u + b_i + v_u . v_i, that trainers in threads of one process train at once, each on its share of
the batches of every epoch, without waiting for each other. 90 % of the ratings are for training. A
faulty trainer multiplies the gradients of 1 % of its pushes by 1000.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

import carls
from benchmarks import options
from carls.cli.results import Result, check_writable, write_json

#: Elements of the vectors v; a row has its bias behind them.
DIM = 16
#: Ratings of all trainers' batches together.
BATCH = 1024
TRAINERS = 4
SHARE, FACTOR = 0.01, 1000.0
DECAY = 0.1
OPTIMIZERS: dict[str, carls.Optimizer] = {"adagrad": carls.Adagrad(lr=0.1), "sgd": carls.SGD(lr=0.02)}

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class Ratings(NamedTuple):
    """Who rated what, and how: users and items (n,) int64, stars (n,) float32 from 0.5 to 5."""

    users: Indices
    items: Indices
    stars: Floats

    @staticmethod
    def read(path: Path) -> Ratings:
        """The ratings in ml_latest_small_2016.npz."""
        with np.load(path, allow_pickle=False) as arrays:
            return Ratings(
                arrays["user"].astype(np.int64),
                arrays["item"].astype(np.int64),
                arrays["rating_x2"].astype(np.float32) / 2,
            )

    def take(self, chosen: Indices) -> Ratings:
        """Some of them."""
        return Ratings(self.users[chosen], self.items[chosen], self.stars[chosen])


@dataclass(frozen=True)
class Case:
    """Who trains, and how gradients are aggregated."""

    trainers: int
    aggregate: str | carls.Aggregation | None = None
    faulty: bool = False


#: What the others are compared with, seed by seed: batches of the same size in all, without any asynchrony.
REFERENCE = "one trainer, eager"
CASES = {
    REFERENCE: Case(1),
    "four trainers, eager": Case(TRAINERS),
    "four trainers, lazy": Case(TRAINERS, "lazy"),
    "four, one faulty, lazy": Case(TRAINERS, "lazy", True),
    "four, one faulty, lazy, dropping": Case(TRAINERS, carls.Lazy(outliers="drop"), True),
    "four, one faulty, eager": Case(TRAINERS, None, True),
}


class Trainer:
    """One of several that train the same tables.

    Args:
        bank: where they are.
        spec: of both tables.
        seed: of the faults, and of the initial values.
        mean: of all stars.
        faulty: whether some pushes are too large.
    """

    def __init__(self, bank: carls.Bank, spec: dict[str, Any], seed: int, mean: float, faulty: bool) -> None:
        self._users = bank.embeddings("users", seed=seed, **spec)
        self._items = bank.embeddings("items", seed=seed + 1, **spec)
        self._mean = np.float32(mean)
        self._faults = np.random.default_rng(seed) if faulty else None

    def predict(self, ratings: Ratings, create: bool = False) -> tuple[Floats, Any, Any]:
        """The stars (n,) that are expected, and the rows (n, dim + 1) of users and items."""
        u = self._users.lookup(ratings.users, create=create).values
        i = self._items.lookup(ratings.items, create=create).values
        dots = np.einsum("nd,nd->n", u[:, :-1], i[:, :-1])
        return self._mean + u[:, -1] + i[:, -1] + dots, u, i

    def step(self, ratings: Ratings) -> None:
        """Push the gradients of half the squared errors, and of the decay of the rows."""
        expected, u, i = self.predict(ratings, create=True)
        errors = (expected - ratings.stars)[:, None]
        too_large = self._faults is not None and self._faults.random() < SHARE
        size = np.float32(FACTOR if too_large else 1)
        for table, keys, rows, others in (
            (self._users, ratings.users, u, i),
            (self._items, ratings.items, i, u),
        ):
            gradients = np.concatenate([errors * others[:, :-1], errors], axis=1) + DECAY * rows
            table.push_gradients(keys, size * gradients.astype(np.float32))

    def outliers(self) -> int:
        """Contributions that were clipped or dropped."""
        return sum(table.statistics().counters.outliers for table in (self._users, self._items))


def train(
    ratings: Ratings, case: Case, optimizer: carls.Optimizer, seed: int, epochs: int
) -> tuple[float, int]:
    """The root mean squared error on the test ratings after the last epoch, NaN if the trainers gave up as
    values grew beyond all bounds; and how many contributions were outliers."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ratings.stars))
    held_out = len(order) // 10
    test, training = ratings.take(order[:held_out]), order[held_out:]
    mean = float(ratings.stars[training].mean())
    spec = {
        "dim": DIM + 1,
        "optimizer": optimizer,
        "initializer": carls.Normal(0.1),
        "aggregate": case.aggregate,
    }
    with carls.connect() as bank:
        trainers = [
            Trainer(bank, spec, seed, mean, case.faulty and number == 0) for number in range(case.trainers)
        ]
        gave_up: list[carls.CarlsError] = []

        def work(trainer: Trainer, batches: list[Indices]) -> None:
            try:
                for batch in batches:
                    trainer.step(ratings.take(batch))
            except carls.InvalidValueError as error:
                gave_up.append(error)

        for _ in range(epochs):
            shuffled, size = rng.permutation(training), BATCH // case.trainers
            batches = [shuffled[at : at + size] for at in range(0, len(shuffled), size)]
            threads = [
                threading.Thread(target=work, args=(trainer, batches[number :: case.trainers]))
                for number, trainer in enumerate(trainers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if gave_up:
                return float("nan"), trainers[0].outliers()
        expected = np.clip(trainers[0].predict(test)[0], 0.5, 5.0)
        return float(np.sqrt(np.mean((expected - test.stars) ** 2))), trainers[0].outliers()


def measure(ratings: Ratings, optimizers: list[str], seeds: int, epochs: int) -> Iterator[Result]:
    """Figures of all cases."""
    for optimizer in optimizers:
        reference: Any = None
        for name, case in CASES.items():
            runs = [train(ratings, case, OPTIMIZERS[optimizer], seed, epochs) for seed in range(seeds)]
            errors, outliers = (np.array(column) for column in zip(*runs, strict=True))
            title = f"{optimizer}: {name}"
            reference = errors if reference is None else reference
            ended = ~np.isnan(errors)
            if ended.any():
                value, sd = _spread(errors[ended])
                yield Result(title, "RMSE", value, "stars", sd, int(ended.sum()))
            if ended.any() and name != REFERENCE:
                value, sd = _spread((errors - reference)[ended])
                against = f"{optimizer}: {REFERENCE}"
                yield Result(title, "RMSE beyond", value, "stars", sd, int(ended.sum()), against)
            yield Result(title, "outliers", float(outliers.mean()), "contributions", None, seeds)
            yield Result(title, "gave up", float((~ended).sum()), "runs", None, seeds)


def _spread(numbers: Any) -> tuple[float, float | None]:
    """Mean, and standard deviation where there are several."""
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else None


def find_data(folder: Path) -> Path:
    """MovieLens' file in a folder such as $CARLS_DATA.

    Raises:
        typer.BadParameter: it is not there.
    """
    path = folder / "movielens_small" / "ml_latest_small_2016.npz"
    if not path.exists():
        raise typer.BadParameter(f"no {path}: set CARLS_DATA to the folder that has movielens_small")
    return path


def show(results: list[Result]) -> Table:
    """One line a case."""
    columns = {"RMSE": "RMSE, stars", "RMSE beyond": f"beyond {REFERENCE!r}", "outliers": "outliers"}
    table = Table("case", *columns.values(), "gave up")
    lines: dict[str, dict[str, Result]] = {}
    for result in results:
        lines.setdefault(result.case, {})[result.metric] = result
    for case, line in lines.items():
        cells = [_cell(line.get(metric)) for metric in columns]
        table.add_row(case, *cells, f"{line['gave up'].value:.0f} of {line['gave up'].n}")
    return table


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if result.metric == "outliers":
        return f"{result.value:.0f}"
    return f"{result.value:.4f}" + ("" if result.sd is None else f" ±{result.sd:.4f}")


def main(seeds: int = 5, epochs: int = 8, quick: options.Quick = False, json: options.Json = None) -> None:
    """Compare eager and lazy tables, with a faulty trainer and without."""
    if json is not None:
        check_writable(json)
    ratings = Ratings.read(find_data(Path(os.environ.get("CARLS_DATA", "data"))))
    if quick:
        seeds, epochs = 1, 1
    results = list(measure(ratings, list(OPTIMIZERS), seeds, epochs))
    Console(width=120).print(show(results))
    config = {"seeds": seeds, "epochs": epochs, "batch": BATCH, "dim": DIM, "trainers": TRAINERS}
    if json is not None:
        write_json(json, "aggregation", config, results)


if __name__ == "__main__":
    typer.run(main)
