"""What detectors of kinds look at, once per root: statistics of early stages, whitened by control images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from errata.editing.editors.detectors import Background, background
from errata.editing.features import NOTHING_KEPT, Features, Layer
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork, stages_of
from errata.editing.networks.kind_edits import channel_statistics
from errata.editing.whitening import WhitenedDirections


@dataclass(frozen=True)
class Sight:
    """`seen` names the stages, `slots` holds the centre and whitening of their statistics, `controls` what control
    images look like through both."""

    seen: tuple[str, ...]
    slots: WhitenedDirections
    controls: Background

    @torch.no_grad()
    def directions(self, model: EditableModel, images: Tensor, features: Features = NOTHING_KEPT) -> Tensor:
        """What detectors see of uint8 images `[n, h, w, c]`: unit vectors `[n, s]`."""
        return self.slots.directions(features.of(model, images, early_statistics(self.seen)))


def open_sight(
    model: EditableModel, features: Features, reference: Tensor, calibration: Tensor, stages: int, eps: float
) -> Sight:
    """The statistics of the first `stages` stages (0: of all but the last that has weights), whitened on `reference`.

    Both are uint8 `[n, h, w, c]`; raises DataError if either has fewer than two images.
    """
    known = stages_of(model.backbone)
    weighted = [number for number, (_, stage) in enumerate(known) if any(True for _ in stage.parameters())]
    count = stages or (weighted[-1] if weighted else 0) or 1
    seen = tuple(name for name, _ in known[:count])
    layer = early_statistics(seen)
    found = features.of(model, reference, layer)
    slots = WhitenedDirections(found.shape[1]).to(found)
    slots.fit(found)
    other = slots.directions(features.of(model, calibration, layer))
    return Sight(seen, slots, background(slots.directions(found), other, eps))


def early_statistics(seen: tuple[str, ...]) -> Layer:
    """Statistics `[n, s]` of the outputs of the first stages, those `seen`; no other is run."""

    def statistics(model: EditableNetwork, images: Tensor) -> Tensor:
        hidden = [model.normalise(images)]
        for _, stage in stages_of(model.backbone)[: len(seen)]:
            hidden.append(stage(hidden[-1]))
        return channel_statistics(hidden[1:])

    return Layer(f"statistics of the first {len(seen)} stages", statistics)
