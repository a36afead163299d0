"""Elastic weight consolidation (Kirkpatrick et al. 2017) as a penalty on the constraint, for any gradient editor.

    l_e(theta) + weight / 2 * sum_i F_i (theta_i - root_i)^2

F is the diagonal of the root's Fisher matrix: parameters that the root's predictions hang on are held more tightly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vmap

from errata.editing.editors.gradient import Anchor
from errata.editing.errors import DataError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import EditableLayers, before

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
    """The penalty's `weight`; the Fisher is taken over at most `images` reference inputs."""

    weight: float = 1.0
    images: int = 1024
    seed: int = 0

    def anchor(self, model: EditableNetwork, layers: EditableLayers, reference: Tensor) -> Anchor:
        """Computes the Fisher of `model` (in eval mode) on `reference`; raises DataError if there are no images."""
        root = {name: value.detach().clone() for name, value in layers.parameters(model).items()}
        fisher = diagonal_fisher(model, layers, reference[: self.images], self.seed)
        return ElasticAnchor(self.weight, root, fisher)


def diagonal_fisher(model: EditableNetwork, layers: EditableLayers, inputs: Tensor, seed: int = 0) -> Tensors:
    """Mean over `inputs` `[n, ...]` of the squared gradient of `log p(y|x)`, by editable parameter; y is
    drawn from the model's own predictions (`editing.likelihoods`).
    """
    if len(inputs) == 0:
        raise DataError("the Fisher matrix needs reference inputs; give at least one")
    tail = layers.frozen_tail(model)
    params = {name: value.detach() for name, value in layers.parameters(model).items()}
    generator = torch.Generator().manual_seed(seed)

    def log_likelihood(editable: Tensors, hidden: Tensor, label: Tensor) -> Tensor:
        return -model.likelihood.loss(tail(editable, hidden[None]), label[None])

    gradients = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    for part in inputs.split(_CHUNK):
        with torch.no_grad():
            hidden = before(model, part.to(model.device), layers.cut)
            labels = model.likelihood.draw(tail(params, hidden).float(), generator)
        for name, value in gradients(params, hidden, labels).items():
            total[name] += (value**2).sum(0) / len(inputs)
    return total
