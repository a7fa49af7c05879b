"""A trial: one recommender trained and tested, for one seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carls.cli.demo.films.ratings import Int64s, Ratings
from carls.cli.demo.films.recipe import FilmRecipe
from carls.cli.demo.films.recommenders import Recommender

#: Length of the list that is recommended.
LENGTH = 10


@dataclass(frozen=True, eq=False)
class Trial:
    """What came out.

    Attributes:
        curve: (epochs + 1, 2): epoch, and the hit rate after it in percent.
        ranks: (users,) int64, after the last epoch: how many films that a user has not seen stand
            before the one that the user watched next.
        step_ms: mean time of a step in milliseconds, tests not counted.
    """

    curve: npt.NDArray[np.float64]
    ranks: Int64s
    step_ms: float

    @property
    def hit_rate(self) -> float:
        """HR@10: share of users whose next film is on their list, in percent."""
        return hit_rate(self.ranks, LENGTH)

    @property
    def gain(self) -> float:
        """NDCG@10 in percent: a hit at rank r (0 the first) counts 1 / log2(r + 2)."""
        return 100 * float(np.where(self.ranks < LENGTH, 1 / np.log2(self.ranks + 2), 0).mean())


def hit_rate(ranks: Int64s, length: int) -> float:
    """Share of ranks below `length`, in percent."""
    return 100 * float((ranks < length).mean())


def run_trial(
    recommender: Recommender,
    ratings: Ratings,
    recipe: FilmRecipe,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> Trial:
    """Train on all films of each user but the last, and test on that.

    Args:
        recipe: with no epochs for a recommender that does not learn.
        seed: of the order of the examples.
        advance: called after each step.
    """
    draw = np.random.default_rng(seed)
    known = ratings.without_last()
    examples = known.examples()
    ranks = ranks_of_last(recommender, ratings)
    curve, steps, spent = [(0.0, hit_rate(ranks, LENGTH))], 0, 0.0
    for epoch in range(recipe.epochs):
        order = draw.permutation(examples)
        for start in range(0, len(order), recipe.batch):
            began = time.perf_counter()
            recommender.step(known.batch(order[start : start + recipe.batch]), steps)
            spent += time.perf_counter() - began
            steps += 1
            advance()
        ranks = ranks_of_last(recommender, ratings)
        curve.append((epoch + 1, hit_rate(ranks, LENGTH)))
    return Trial(np.array(curve), ranks, 1e3 * spent / max(1, steps))


def ranks_of_last(recommender: Recommender, ratings: Ratings) -> Int64s:
    """(users,) int64: the rank of each user's last film among those that the user has not seen before.

    0 is the best; a film with an equal score stands before it.
    """
    scores = recommender.scores(ratings.batch(ratings.lasts)).numpy().copy()
    places = np.arange(ratings.users)
    last = ratings.films[ratings.lasts]
    wanted = scores[places, last]
    user = np.repeat(places, np.diff(ratings.starts))
    scores[user, ratings.films] = -np.inf  # seen, and the film itself
    ranks: Int64s = (scores >= wanted[:, None]).sum(axis=1)
    return ranks


def steps_of(ratings: Ratings, recipe: FilmRecipe) -> int:
    """Training steps of a trial."""
    return recipe.epochs * -(-len(ratings.without_last().examples()) // recipe.batch)
