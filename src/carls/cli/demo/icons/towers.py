"""The towers of the demo: words and pictures of icons, side by side."""

from __future__ import annotations

import torch
from torch import nn

from carls.cli.demo.icons.words import VOCABULARY

#: Width of both towers' outputs.
DIM = 64
_WORDS = 256
_CHANNELS = (16, 32, 64)


class Towers(nn.Module):
    """A tower for the words of icons and one for their images.

    Args:
        word_dropout: share of an icon's words that are left out at a training step, 0 to below 1.
    """

    def __init__(self, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.word_dropout = word_dropout
        self.bag = nn.EmbeddingBag(VOCABULARY + 1, _WORDS, padding_idx=VOCABULARY, mode="mean")
        nn.init.normal_(self.bag.weight, std=0.1)
        self.text_head = nn.Sequential(nn.Linear(_WORDS, _WORDS), nn.ReLU(), nn.Linear(_WORDS, DIM))
        first, second, third = _CHANNELS
        self.image_tower = nn.Sequential(
            nn.Conv2d(1, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(third * 16, DIM),
        )

    def texts(self, words: torch.Tensor) -> torch.Tensor:
        """(n, 64) of the words (n, most) of n icons."""
        if self.training and self.word_dropout > 0:
            words = words.masked_fill(torch.rand(words.shape) < self.word_dropout, VOCABULARY)
        embedded: torch.Tensor = self.text_head(self.bag(words))
        return embedded

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 64) of images (n, 1, 32, 32)."""
        embedded: torch.Tensor = self.image_tower(images)
        return embedded

    def forward(self, words: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.texts(words), self.images(images)
