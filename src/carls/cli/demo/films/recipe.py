"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FilmRecipe:
    """Settings of one training run.

    Attributes:
        epochs: passes over all examples.
        dim: of the vectors of users and films.
        batch: examples in a step.
        learning_rate: of Adagrad, for everything.
        spread: standard deviation of the first values.
        decay: of the weight of a film seen, from one film back to the next.
        sampled: films that the bank draws for a step; without a bank all films are compared.
        strategy: how it draws them.
    """

    epochs: int = 3
    dim: int = 64
    batch: int = 512
    learning_rate: float = 0.1
    spread: float = 0.05
    decay: float = 0.9
    sampled: int = 500
    strategy: str = "frequency"


# Chosen on the last film but one of each user, never on the last, with a prototype of the same model in plain
# torch, 2 seeds each. More passes gain a little more; three keep the demo short.
RECIPE = FilmRecipe()
