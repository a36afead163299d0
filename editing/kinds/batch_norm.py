"""A kind's own batch-norm statistics: re-estimated on its corrections, mixed with the root's.

Most of what sets images of a kind apart is a shift of every layer's statistics, and this takes it back without a single
gradient (adaptive batch normalisation: Li et al. 2016; mixed with the root's: Schneider et al. 2020).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from errata.editing.batches import at_once
from errata.editing.model import EditableModel
from errata.editing.types import Tensors

_KEPT = ("running_mean", "running_var")


@torch.no_grad()
def own_statistics(model: EditableModel, images: Tensor, share: float) -> Tensors:
    """Running means and variances by name, for uint8 `images` `[n, h, w, c]` of a kind: `share` of theirs, the rest the
    root's. Nothing for a model without batch norm, or whose batch norm keeps no statistics.
    """
    shifted = copy.deepcopy(model).eval()
    layers = {
        f"backbone.{name}": layer
        for name, layer in shifted.backbone.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }
    if not layers:
        return {}
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None  # the mean over batches
        layer.train()
    _pass_through(shifted, images)
    root = model.state_dict()
    found = {f"{name}.{kept}": layer.get_buffer(kept) for name, layer in layers.items() for kept in _KEPT}
    return {name: torch.lerp(root[name], value, share) for name, value in found.items()}


def _pass_through(model: EditableModel, images: Tensor) -> None:
    """All images, in batches of about equal size: each counts as much as the others."""
    device: torch.device = model.head.weight.device
    for part in images.tensor_split(-(-len(images) // at_once(images.shape[1:]))):
        model.features(part.to(device))


def with_tensors(model: EditableModel, tensors: Tensors) -> EditableModel:
    """A copy of `model` with other values of the tensors named."""
    made: EditableModel = copy.deepcopy(model).eval()
    made.load_state_dict({**made.state_dict(), **tensors})
    return made
