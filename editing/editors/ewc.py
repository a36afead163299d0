"""Elastic weight consolidation (Kirkpatrick et al. 2017) as a penalty on the constraint, for any gradient editor.

    l_e(theta) + weight / 2 * sum_i F_i (theta_i - root_i)^2

F is the diagonal of the root's Fisher matrix: parameters that the root's predictions hang on are held more tightly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F

from errata.editing.editors.gradient import Anchor
from errata.editing.errors import DataError
from errata.editing.model import EditableModel
from errata.editing.scopes import EditableLayers, before
from errata.editing.types import Tensors

_CHUNK = 64  # images whose gradients are held at a time


@dataclass(frozen=True)
class ElasticAnchor:
    """The root's editable parameters and their diagonal Fisher, one entry a parameter."""

    weight: float
    root: Tensors
    fisher: Tensors

    def __call__(self, params: Tensors) -> Tensor:
        terms = [(self.fisher[name] * (value - self.root[name]) ** 2).sum() for name, value in params.items()]
        return 0.5 * self.weight * torch.stack(terms).sum()


@dataclass(frozen=True)
class ElasticPenalty:
    """The penalty's `weight`; the Fisher is taken over at most `images` reference images."""

    weight: float = 1.0
    images: int = 1024
    seed: int = 0

    def anchor(self, model: EditableModel, layers: EditableLayers, reference: Tensor) -> Anchor:
        """Computes the Fisher of `model` (in eval mode) on `reference`; raises DataError if there are no images."""
        root = {name: value.detach().clone() for name, value in layers.parameters(model).items()}
        fisher = diagonal_fisher(model, layers, reference[: self.images], self.seed)
        return ElasticAnchor(self.weight, root, fisher)


def diagonal_fisher(model: EditableModel, layers: EditableLayers, images: Tensor, seed: int = 0) -> Tensors:
    """Mean over `images` of the squared gradient of `log p(y|x)`, by editable parameter.

    Labels y are drawn from the model's own predictions: with the data's labels it would be another matrix, the
    "empirical Fisher", which vanishes where the model is confident and right.
    """
    if len(images) == 0:
        raise DataError("the Fisher matrix needs reference images; give at least one")
    tail = layers.frozen_tail(model)
    params = {name: value.detach() for name, value in layers.parameters(model).items()}
    generator = torch.Generator().manual_seed(seed)

    def log_likelihood(editable: Tensors, hidden: Tensor, label: Tensor) -> Tensor:
        return -F.cross_entropy(tail(editable, hidden[None]), label[None])

    gradients = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    device = model.head.weight.device
    for part in images.split(_CHUNK):
        with torch.no_grad():
            hidden = before(model, part.to(device), layers.cut)
            chances = torch.softmax(tail(params, hidden).float(), 1).cpu()
        labels = torch.multinomial(chances, 1, generator=generator)[:, 0].to(device)
        for name, value in gradients(params, hidden, labels).items():
            total[name] += (value**2).sum(0) / len(images)
    return total
