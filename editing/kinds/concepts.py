"""What detectors of kinds of concept look at: the direction of features, which tells what an image shows."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor

from errata.editing.editors.detectors import Background, background
from errata.editing.features import Features
from errata.editing.kinds.tail import evenly
from errata.editing.model import EditableModel, PatchSlots


@dataclass(frozen=True)
class ConceptSight:
    """`slots` holds the centre and whitening of features, as the patch has them, `controls` what control images look
    like through both, `reference` `[n, d]` the features of reference images to which the head is held."""

    slots: PatchSlots
    controls: Background
    reference: Tensor


def open_concepts(
    model: EditableModel, features: Features, reference: Tensor, calibration: Tensor, eps: float
) -> ConceptSight:
    """From control images uint8 `[n, h, w, c]`; raises DataError if either has fewer than two."""
    slots = copy.deepcopy(model.patch)
    known = features.of(model, reference)
    if not slots.fitted:
        slots.fit(known)
    seen = slots.directions(known), slots.directions(features.of(model, calibration))
    return ConceptSight(slots, background(*seen, eps), evenly(known))
