"""Recommenders: what is worth watching next, learned with a bank, without one, or counted."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from carls.cli.demo.films.ratings import Batch, Int64s, Ratings
from carls.cli.demo.films.recipe import FilmRecipe
from carls.client import Bank
from carls.keys import Keys
from carls.specs import Adagrad, Normal
from carls.torch import DynamicEmbedding, SampledSoftmaxLoss


class Recommender(ABC):
    """Scores all films for users by what they saw last."""

    @abstractmethod
    def step(self, batch: Batch, step: int) -> None:
        """Learn from a batch of examples."""

    @abstractmethod
    def scores(self, batch: Batch) -> torch.Tensor:
        """(b, films) float32: the higher the likelier to be next."""


class BankRecommender(Recommender):
    """All rows live in a bank, under the names of users and films: the trainer holds no parameters.

    score(user, film) = <row(user) + mean of the rows of films seen, row(film)> + bias(film)

    where the mean weights films by how long ago they were seen. There is a table for users, one for films
    seen, and one for films that come next, whose last column is the bias. It learns by a softmax over
    films that the bank draws.
    """

    def __init__(self, bank: Bank, name: str, ratings: Ratings, recipe: FilmRecipe, seed: int) -> None:
        self._bank, self._recipe = bank, recipe
        self._films = Keys.of([f"film/{film}" for film in ratings.names])
        self._users = Keys.of([f"user/{user}" for user in range(ratings.users)])
        self._tables = [
            bank.embeddings(
                f"{name}.{kind}",
                dim=dim,
                seed=seed,
                keys="string",
                optimizer=Adagrad(lr=recipe.learning_rate),
                initializer=Normal(recipe.spread),
            )
            for kind, dim in (("users", recipe.dim), ("seen", recipe.dim), ("next", recipe.dim + 1))
        ]
        users, seen, following = self._tables
        self._user, self._seen = DynamicEmbedding(users), DynamicEmbedding(seen)
        self._loss = SampledSoftmaxLoss(
            following, num_sampled=recipe.sampled, strategy=recipe.strategy, bias=True, seed=seed
        )
        # All films can be drawn from the start, also those that nobody has watched yet.
        following.lookup(self._films)

    def step(self, batch: Batch, step: int) -> None:
        for module in (self._user, self._seen, self._loss):
            module.step = step
        loss = self._loss(self._queries(batch), self._films.take(batch.film))
        loss.backward()

    def scores(self, batch: Batch) -> torch.Tensor:
        modules = (self._user, self._seen, self._loss)
        for module in modules:
            module.eval()
        with torch.no_grad():
            scores = self._loss.logits(self._queries(batch), self._films)
        for module in modules:
            module.train()
        return scores

    def close(self) -> None:
        """Drop the tables."""
        for table in self._tables:
            table.close()
            self._bank.drop(table.name)

    def _queries(self, batch: Batch) -> torch.Tensor:
        films, places = np.unique(batch.seen, return_inverse=True)
        rows = self._seen(self._films.take(films))
        users: torch.Tensor = self._user(self._users.take(batch.user))
        return users + _history(rows, torch.from_numpy(places), batch, self._recipe.decay)


class OwnRecommender(Recommender, nn.Module):
    """The same model without a bank: parameters of the trainer, and the full softmax over all films."""

    def __init__(self, ratings: Ratings, recipe: FilmRecipe, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        films = len(ratings.names)
        self._recipe = recipe
        self.user = nn.Embedding(ratings.users, recipe.dim)
        self.seen = nn.Embedding(films, recipe.dim)
        self.following = nn.Linear(recipe.dim, films)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=recipe.spread)
        self._optimizer = torch.optim.Adagrad(self.parameters(), lr=recipe.learning_rate)

    def step(self, batch: Batch, step: int) -> None:  # noqa: ARG002 - nobody else wants to know it
        loss = functional.cross_entropy(self._logits(batch), torch.from_numpy(batch.film))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    @torch.no_grad()
    def scores(self, batch: Batch) -> torch.Tensor:
        return self._logits(batch)

    def _logits(self, batch: Batch) -> torch.Tensor:
        seen = _history(self.seen.weight, torch.from_numpy(batch.seen), batch, self._recipe.decay)
        logits: torch.Tensor = self.following(self.user(torch.from_numpy(batch.user)) + seen)
        return logits


class Popularity(Recommender):
    """The films that most users have watched, for everybody."""

    def __init__(self, ratings: Ratings) -> None:
        self._counts = torch.from_numpy(np.bincount(ratings.films, minlength=len(ratings.names))).float()

    def step(self, batch: Batch, step: int) -> None:
        """There is nothing to learn."""

    def scores(self, batch: Batch) -> torch.Tensor:
        return self._counts.expand(len(batch.user), -1)


def _history(rows: torch.Tensor, places: torch.Tensor, batch: Batch, decay: float) -> torch.Tensor:
    """(b, dim) means of the rows at `places`, those of each example's films seen."""
    starts: Int64s = np.cumsum(batch.sizes) - batch.sizes
    weights = torch.from_numpy(batch.weights(decay))
    return functional.embedding_bag(
        places, rows, torch.from_numpy(starts), mode="sum", per_sample_weights=weights
    )
