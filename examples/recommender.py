"""A recommender whose embeddings live in a bank, under the names that users and films have.

Two trainer processes share one bank server: each learns from its own half of the ratings.
Run it with `python examples/recommender.py` after `make install`.
"""

from __future__ import annotations

import multiprocessing

import numpy as np
import torch

import carls
from carls.service import BankProcess
from carls.torch import DynamicEmbedding

USERS, FILMS, DIM, STEPS, BATCH = 200, 100, 8, 400, 128


def ratings(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Users, films and ratings that follow from hidden tastes, the same for every seed."""
    tastes = np.random.default_rng(0)
    user_tastes, film_tastes = tastes.normal(size=(USERS, 3)), tastes.normal(size=(FILMS, 3))
    rng = np.random.default_rng(seed)
    users, films = rng.integers(0, USERS, count), rng.integers(0, FILMS, count)
    scores = (user_tastes[users] * film_tastes[films]).sum(axis=1)
    return users, films, torch.tensor(scores, dtype=torch.float32)


def embeddings(bank: carls.Bank) -> tuple[DynamicEmbedding, DynamicEmbedding]:
    """The two tables; whoever comes first creates them."""
    optimizer, initializer = carls.Adagrad(lr=0.3), carls.Normal(0.3)
    users, films = (
        bank.embeddings(name, dim=DIM, optimizer=optimizer, initializer=initializer)
        for name in ("users", "films")
    )
    return DynamicEmbedding(users), DynamicEmbedding(films)


def predict(
    layers: tuple[DynamicEmbedding, DynamicEmbedding], users: np.ndarray, films: np.ndarray
) -> torch.Tensor:
    """Predicted ratings, from vectors found by name."""
    user_vectors = layers[0]([f"user/{user}" for user in users])
    film_vectors = layers[1]([f"film/{film}" for film in films])
    return (user_vectors * film_vectors).sum(dim=1)


def train(url: str, seed: int) -> None:
    """One trainer: its gradients are applied inside the bank, beside the other trainer's."""
    torch.set_num_threads(1)
    with carls.connect(url, producer=f"trainer {seed}") as bank:
        layers = embeddings(bank)
        users, films, scores = ratings(seed, STEPS * BATCH)
        for step in range(STEPS):
            part = slice(step * BATCH, (step + 1) * BATCH)
            loss = (predict(layers, users[part], films[part]) - scores[part]).square().mean()
            loss.backward()
        for layer in layers:
            layer.flush()


def main() -> None:
    """Train with two processes, then test."""
    spawn = multiprocessing.get_context("spawn")
    with BankProcess() as server, carls.connect(server.url) as bank:
        trainers = [spawn.Process(target=train, args=(server.url, seed)) for seed in (1, 2)]
        for trainer in trainers:
            trainer.start()
        for trainer in trainers:
            trainer.join()
        layers = embeddings(bank)
        for layer in layers:
            layer.eval()
        users, films, scores = ratings(3, 2000)
        error = (predict(layers, users, films) - scores).square().mean()
        print(f"mean squared error {error:.3f}, against {scores.var():.3f} for the mean rating")
        rows = bank.embeddings(
            "films", dim=DIM, optimizer=carls.Adagrad(lr=0.3), initializer=carls.Normal(0.3)
        )
        film = rows.lookup(["film/7"], create=False)
        print(f"film/7 was written {film.version[0]} times, last by {film.producer[0]}")


if __name__ == "__main__":
    main()
