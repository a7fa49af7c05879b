"""MovieLens: who rated which films, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carls.cli.demo.data_file import DataFile
from carls.errors import CarlsError

FILE = DataFile("MovieLens", Path("movielens_small") / "ml_latest_small_2016.npz")
#: Films back from the one to be guessed that a trainer looks at.
HISTORY = 20

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ratings:
    """The films of all users, one user after another.

    Attributes:
        films: (n,) int64, number of each rated film; of a user, the oldest rating first.
        starts: (users + 1,) int64, where each user's films begin in `films`.
        names: of the films.
    """

    films: Int64s
    starts: Int64s
    names: list[str]

    @property
    def users(self) -> int:
        """How many users there are."""
        return len(self.starts) - 1

    @property
    def lasts(self) -> Int64s:
        """(users,) int64: the place in `films` of each user's last film."""
        return self.starts[1:] - 1

    def without_last(self) -> Ratings:
        """The same users without the last film of each."""
        kept = np.ones(len(self.films), bool)
        kept[self.lasts] = False
        return Ratings(self.films[kept], self.starts - np.arange(len(self.starts)), self.names)

    def of_first(self, users: int) -> Ratings:
        """The first `users` users alone."""
        return Ratings(self.films[: self.starts[users]], self.starts[: users + 1], self.names)

    def examples(self) -> Int64s:
        """Places in `films` of all films with another one of the same user before them."""
        first = np.zeros(len(self.films), bool)
        first[self.starts[:-1]] = True
        return np.flatnonzero(~first)

    def batch(self, places: Int64s) -> Batch:
        """What is known before the films at `places` (b,), and which they were."""
        user = np.searchsorted(self.starts, places, side="right") - 1
        back = places[:, None] - 1 - np.arange(HISTORY)
        there = back >= self.starts[user][:, None]
        sizes = there.sum(axis=1)
        return Batch(user, self.films[back[there]], sizes, self.films[places])


@dataclass(frozen=True, eq=False)
class Batch:
    """b examples.

    Attributes:
        user: (b,) int64.
        seen: films before the one to be guessed, at most 20 an example, the newest first, one
            example after another.
        sizes: (b,) int64, how many each example has of them, 1 or more.
        film: (b,) int64, the film to be guessed.
    """

    user: Int64s
    seen: Int64s
    sizes: Int64s
    film: Int64s

    def weights(self, decay: float) -> npt.NDArray[np.float32]:
        """Weights of `seen` that fall by `decay` from film to film and sum to 1 in each example."""
        starts = np.cumsum(self.sizes) - self.sizes
        rank = np.arange(len(self.seen)) - np.repeat(starts, self.sizes)
        falling = decay**rank
        weights: npt.NDArray[np.float64] = falling / np.repeat(np.add.reduceat(falling, starts), self.sizes)
        return weights.astype(np.float32)


def load() -> Ratings:
    """MovieLens (ml-latest-small of October 2016), from where `DataFile` says.

    Raises:
        CarlsError: it is not there, or cannot be read.
    """
    arrays = FILE.read(
        ("user", "item", "movie_id", "title"),
        "GroupLens has replaced these ratings of 2016 by newer ones, so they cannot be downloaded",
    )
    users, films = arrays["user"].astype(np.int64), arrays["item"].astype(np.int64)
    names = [f"{number} {title}" for number, title in zip(arrays["movie_id"], arrays["title"], strict=True)]
    if (np.diff(users) < 0).any() or films.max() >= len(names):
        raise CarlsError(f"{FILE.find()} has users out of order or films without a name: replace it")
    starts = np.searchsorted(users, np.arange(users[-1] + 2))
    return Ratings(films, starts, names)
