"""The parameters that a kind replaces: tuned on its corrections and their views, held to the root on control images.

The loss of a step is the cross entropy of views drawn at random plus `locality` times the divergence KL(root || edited)
of control images drawn at random; what comes before the first tuned parameter is computed once. What is kept lies
between the layers before and after: that does less harm inside the kind for most of the gain (Wortsman et al. 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from errata.editing.features import NOTHING_KEPT, Features, entering
from errata.editing.model import EditableModel
from errata.editing.network import BareTail
from errata.editing.scopes import EditableLayers
from errata.editing.settings import KindSettings
from errata.editing.types import Tensors

MOST_CONTROL = 1024  # reference images to which a change is held: what enters its layers is kept of each


def evenly(reference: Tensor) -> Tensor:
    """The reference images to which changes are held, evenly drawn."""
    return reference[:: -(-len(reference) // MOST_CONTROL)]


def tune_tail(
    model: EditableModel,
    shifted: EditableModel,
    layers: EditableLayers,
    views: Tensor,
    expected: Tensor,
    control: Tensor,
    settings: KindSettings,
    seed: int,
    features: Features = NOTHING_KEPT,
) -> Tensors:
    """The tuned parameters by name, of uint8 `views` `[n, h, w, c]` of classes `expected` int64 `[n]`.

    `shifted` is the root `model` with the kind's own batch-norm statistics, which stay as they are;
    `features` computes those of the root, or has them.
    """
    tail = BareTail(shifted.backbone, shifted.head, layers.cut)
    with torch.no_grad():
        layer = entering(shifted, layers.cut)
        hidden, other = (Features().of(shifted, images, layer) for images in (views, control))
        root = model.head(features.of(model, control)).log_softmax(1)
    return tuned(tail, layers.parameters(shifted), hidden, expected, other, root, settings, seed)


def tuned(
    tail: BareTail,
    untuned: Tensors,
    hidden: Tensor,
    expected: Tensor,
    control: Tensor,
    root: Tensor,
    settings: KindSettings,
    seed: int,
) -> Tensors:
    """The parameters `untuned` of a `tail`, tuned on what enters it: `hidden` `[n, ...]` of classes `expected` int64
    `[n]`, and `control` `[m, ...]`, of which the root's log-probabilities are `root` `[m, classes]`.
    """
    params = {name: value.detach().clone().requires_grad_() for name, value in untuned.items()}
    constants = {name: value.detach() for name, value in tail.named_parameters() if name not in params}
    optimiser = torch.optim.Adam(params.values(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(settings.steps):
            mine = torch.randint(len(hidden), (settings.batch,), generator=generator).to(hidden.device)
            theirs = torch.randint(len(control), (settings.batch,), generator=generator).to(hidden.device)
            logits = functional_call(tail, {**constants, **params}, (torch.cat([hidden[mine], control[theirs]]),))
            loss = functional.cross_entropy(logits[: len(mine)], expected[mine])
            now = logits[len(mine) :].log_softmax(1)
            loss = loss + settings.locality * functional.kl_div(
                now, root[theirs], log_target=True, reduction="batchmean"
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return {
        name: torch.lerp(untuned[name].detach(), value.detach(), settings.tuned_share) for name, value in params.items()
    }
