"""What detectors of kinds look at, once per root: statistics of early stages, whitened by control images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from errata.editing.batches import at_once
from errata.editing.editors.detectors import Background, background
from errata.editing.model import EditableModel
from errata.editing.network import stages_of
from errata.editing.networks.kind_edits import channel_statistics
from errata.editing.tensors import joined
from errata.editing.whitening import WhitenedDirections


@dataclass(frozen=True)
class Sight:
    """`seen` names the stages, `slots` holds the centre and whitening of their statistics, `controls` what control
    images look like through both."""

    seen: tuple[str, ...]
    slots: WhitenedDirections
    controls: Background

    @torch.no_grad()
    def directions(self, model: EditableModel, images: Tensor) -> Tensor:
        """What detectors see of uint8 images `[n, h, w, c]`: unit vectors `[n, s]`."""
        return self.slots.directions(early_statistics(model, images, self.seen))


def open_sight(model: EditableModel, reference: Tensor, calibration: Tensor, stages: int, eps: float) -> Sight:
    """The statistics of the first `stages` stages (0: of all but the last that has weights), whitened on `reference`.

    Both are uint8 `[n, h, w, c]`; raises DataError if either has fewer than two images.
    """
    known = stages_of(model.backbone)
    weighted = [number for number, (_, stage) in enumerate(known) if any(True for _ in stage.parameters())]
    count = stages or (weighted[-1] if weighted else 0) or 1
    seen = tuple(name for name, _ in known[:count])
    found = early_statistics(model, reference, seen)
    slots = WhitenedDirections(found.shape[1]).to(found)
    slots.fit(found)
    other = slots.directions(early_statistics(model, calibration, seen))
    return Sight(seen, slots, background(slots.directions(found), other, eps))


@torch.no_grad()
def early_statistics(model: EditableModel, images: Tensor, seen: tuple[str, ...]) -> Tensor:
    """Statistics `[n, s]` of the outputs of the first stages, `seen`; no other is run."""
    device = model.head.weight.device

    def statistics(part: Tensor) -> Tensor:
        hidden = [model.normalise(part.to(device))]
        for _, stage in stages_of(model.backbone)[: len(seen)]:
            hidden.append(stage(hidden[-1]))
        return channel_statistics(hidden[1:])

    return joined(map(statistics, images.split(at_once(images.shape[1:]))), len(images))
