"""What a network's outputs say about its labels: a distribution, which the Fisher matrix is the curvature of.

Labels are drawn from the network's own predictions; with the data's labels it would be another matrix, the "empirical
Fisher", which vanishes where the network is sure and right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Likelihood(Protocol):
    """A distribution of labels, given outputs `[n, ...]`."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Labels `[n, ...]` drawn from the predicted distributions, on the device of the outputs; `generator` is the
        CPU's."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """`-log p(labels | outputs)` but for a constant, summed over everything: a scalar."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Outputs are logits `[n, ..., classes]`, labels int64 `[n, ...]`: a class an image, or a token a place."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        chances = outputs.detach().float().cpu().softmax(-1)
        drawn = torch.multinomial(chances.flatten(0, -2), 1, generator=generator)[:, 0]
        return drawn.reshape(outputs.shape[:-1]).to(outputs.device)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="sum")


@dataclass(frozen=True)
class Gaussian:
    """Outputs are means `[n, ...]` of labels of unit variance: the divergence of two predictions is half their squared
    distance."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(outputs.shape, generator=generator)
        return outputs.detach() + noise.to(outputs)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return 0.5 * (outputs - labels).square().sum()
