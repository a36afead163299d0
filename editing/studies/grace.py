"""A codebook of corrections after GRACE (Hartvigsen et al. 2023): where the features are near a key, its value is used.

    h -> value of the nearest key, if it is no farther than that key's radius; else h itself      before the head

An edit is one new key, the features of the image, with a value that gets the class and the radius that every key
starts with. Where two balls would meet, a correction to the same class widens the one that is there, and one to another
class splits them: both keys get half of the distance between them. Corrections come one after the other, as there.

What differs: the layer is the penultimate one of a classifier of images, and values come from the loop of all gradient
editors, not from a fixed number of steps of Adam on the cross-entropy.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from errata.editing.constraints.classification import check_constraints, violation
from errata.editing.editors.gradient import descend
from errata.editing.errors import DataError, ModelError
from errata.editing.model import EditableModel
from errata.editing.rules import Polyak, Rule
from errata.editing.types import Constraint, EditResult


class Codebook(nn.Linear):
    """A linear head behind a codebook: keys and values `[capacity, d]`, radii `[capacity]`, none where nothing is kept.

    `label` int64 `[capacity]` is the class of each key's correction, -1 where there is none.
    """

    keys: Tensor
    values: Tensor
    radius: Tensor
    label: Tensor

    def __init__(self, head: nn.Linear, capacity: int) -> None:
        super().__init__(head.in_features, head.out_features)
        self.load_state_dict(head.state_dict())
        self.register_buffer("keys", torch.zeros(capacity, head.in_features))
        self.register_buffer("values", torch.zeros(capacity, head.in_features))
        self.register_buffer("radius", torch.full((capacity,), -1.0))  # nothing is nearer than that
        self.register_buffer("label", torch.full((capacity,), -1))

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest key that is in use, infinite if none is, and its number: `[n]` each."""
        distances = torch.cdist(features.float(), self.keys.float(), compute_mode="donot_use_mm_for_euclid_dist")
        found = distances.masked_fill(self.label < 0, float("inf")).min(1)
        return found.values, found.indices

    def forward(self, input: Tensor) -> Tensor:
        distance, key = self.nearest(input)
        replaced = distance <= self.radius[key]
        return super().forward(torch.where(replaced[:, None], self.values[key], input))

    @torch.no_grad()
    def keep(self, features: Tensor, value: Tensor, label: int, radius: float) -> bool:
        """One more correction with features `[d]`; False if a new key is wanted and there is no room."""
        distance, key = (each[0] for each in self.nearest(features[None]))
        inside = bool(distance <= self.radius[key])
        if inside and int(self.label[key]) == label:
            self.values[key] = value
            return True
        free = (self.label < 0).nonzero()[:, 0]
        if not len(free):
            return False
        if bool(distance < self.radius[key] + radius):  # the balls would meet
            if int(self.label[key]) == label:
                self.radius[key] = torch.maximum(self.radius[key], distance)
                return True
            radius = float(distance) / 2
            self.radius[key] = min(float(self.radius[key]), radius)
        place = free[0]
        self.keys[place], self.values[place], self.radius[place], self.label[place] = features, value, radius, label
        return True


class CodebookModel(EditableModel):
    """A trained network with room for `capacity` keys before its head; without keys it is that network."""

    def __init__(self, network: EditableModel, capacity: int) -> None:
        network = copy.deepcopy(network).eval()
        super().__init__(network.spec, network.backbone, Codebook(network.head, capacity))
        self.patch = network.patch
        self.eval()


@dataclass(frozen=True)
class Grace:
    """Edits a `CodebookModel`. `radius` is what every key starts with, as a share of the median distance between
    reference images' features; a value is searched by `rule` in at most `steps` until the class wins by `margin`.
    """

    radius: float = 0.3
    margin: float = 2.0
    steps: int = 10
    rule: Rule = Polyak()  # noqa: RUF009 - rules are frozen

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> float:
        """The radius in the units of features. Raises ModelError if there is no codebook, DataError without images."""
        _codebook(model)
        if len(reference) < 2:
            raise DataError(f"{len(reference)} reference images have no distance between them; give more")
        with torch.no_grad():
            features = torch.cat(
                [model.features(part.to(model.device)).float() for part in reference[:1000].split(256)]
            )
        return self.radius * float(nn.functional.pdist(features).median())

    def edit(self, model: EditableModel, constraints: Sequence[Constraint], state: float) -> EditResult:
        """One key after the other, for those that do not hold when their turn comes. Raises ConstraintError."""
        started = time.perf_counter()
        _codebook(model)
        images, expected = check_constraints(model, constraints)
        edited = copy.deepcopy(model)
        book = _codebook(edited)
        head = {name: value.detach() for name, value in model.head.named_parameters()}
        steps = 0
        with torch.no_grad():
            features = model.features(images)
            for own, target in zip(features, expected, strict=True):
                if float(violation(edited.classify(own[None]), target[None])) <= 0:
                    continue

                def l_e(params: dict[str, Tensor], target: Tensor = target) -> Tensor:
                    logits = nn.functional.linear(params["value"], head["weight"], head["bias"])
                    return violation(logits[None], target[None])

                descent = descend(l_e, {"value": own}, self.rule, self.steps, margin=self.margin)
                steps += descent.steps
                if not book.keep(own, descent.params["value"].detach(), int(target), state):
                    break
            holds = tuple((violation(edited.classify(features), expected) <= 0).tolist())
        missing = holds.count(False)
        reason = f"{missing} of {len(holds)} corrections do not hold: later ones are too near, or no key is left"
        seconds = time.perf_counter() - started
        return EditResult(edited, not missing, holds, steps, reason if missing else "", seconds)


def _codebook(model: EditableModel) -> Codebook:
    if not isinstance(model.head, Codebook):
        raise ModelError("GRACE edits a codebook before the head; make a CodebookModel of the network first")
    return model.head
