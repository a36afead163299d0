"""Replay: fine-tuning with rehearsal, as a penalty on the constraint, for any gradient editor.

    l_e(theta) + weight * mean over rehearsed images of KL(p_root || p_theta)

The rehearsed images are a fixed sample of the reference split, so that an edit is a pure function of what it is given.
After Robins 1995 (Catastrophic forgetting, rehearsal and pseudorehearsal); with the root's predictions in the place of
labels, as in the baseline of Sinitsin et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.editing.editors.gradient import Anchor
from errata.editing.errors import DataError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import EditableLayers, before
from errata.editing.training.editable import divergence


@dataclass(frozen=True)
class RehearsalAnchor:
    """What enters the editable layers of the rehearsed images `[n, ...]`, and the root's logits for them."""

    weight: float
    tail: Callable[[Tensors, Tensor], Tensor]
    hidden: Tensor
    root: Tensor

    def __call__(self, params: Tensors) -> Tensor:
        return self.weight * divergence(self.root, self.tail(params, self.hidden))


@dataclass(frozen=True)
class RehearsalPenalty:
    """The penalty's `weight`; `images` of the reference split are rehearsed, drawn by `seed`."""

    weight: float = 1.0
    images: int = 64
    seed: int = 0

    def anchor(self, model: EditableNetwork, layers: EditableLayers, reference: Tensor) -> Anchor:
        """The root's predictions on a sample of `reference`; raises DataError if there are no images."""
        if len(reference) == 0:
            raise DataError("there is nothing to rehearse; give reference images")
        order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(self.seed))
        tail = layers.frozen_tail(model)
        root = {name: value.detach() for name, value in layers.parameters(model).items()}
        with torch.no_grad():
            hidden = before(model, reference[order[: self.images]].to(model.device), layers.cut)
            return RehearsalAnchor(self.weight, tail, hidden, tail(root, hidden))
