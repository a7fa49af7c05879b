"""The model of the demos: a perceptron with one hidden layer."""

from __future__ import annotations

import torch
from torch import nn


class Perceptron(nn.Module):
    """(n, inputs) float32 -> (n, classes) logits through one hidden layer of ReLUs."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(torch.relu(self.hidden(self.dropout(x))))
        logits: torch.Tensor = self.output(hidden)
        return logits
