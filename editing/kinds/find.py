"""Kinds of corrections: found, given a detector and a change of the network each, and put into a model.

    state = finder.prepare(root, reference, calibration)
    kinds = finder.find(root, constraints, state)             those that hold up on their own corrections
    model = with_kinds(root, kinds, state)                     the root's logits, bit for bit, where none fires

Part of the corrections, by a digest of their keys, is held out: no detector and no change is fitted to them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from errata.editing.constraints import check_constraints
from errata.editing.demands import canonical_order
from errata.editing.kinds.batch_norm import own_statistics, with_tensors
from errata.editing.kinds.edits import KindEdits, KindsSpec
from errata.editing.kinds.grouping import Regrouping, find_groups, fit_detectors, regrouped
from errata.editing.kinds.sight import Sight, open_sight
from errata.editing.kinds.tail import tune_tail
from errata.editing.model import EditableModel
from errata.editing.network import stages_of
from errata.editing.scopes import EditableLayers, Scope, stage_of
from errata.editing.settings import KindSettings, ViewSettings
from errata.editing.types import Constraint, Tensors
from errata.editing.views import fitting_views

MOST_CONTROL = 4096  # reference images, evenly drawn, to which a change is held: what enters its layers is kept of each


@dataclass(frozen=True)
class KindState:
    """What depends on the root only: what detectors look at, the layers that kinds tune, and control images."""

    sight: Sight
    layers: EditableLayers
    reference: Tensor


@dataclass(frozen=True, eq=False)
class Kind:
    """A detector `weight` `[s]` with its `threshold`, and what is put in place of the model's tensors where it fires.

    `fitted` are the keys of the corrections that it was fitted to; `firing` is the share of calibration images on which
    it fires.
    """

    fitted: tuple[str, ...]
    weight: Tensor
    threshold: Tensor
    firing: float
    replaced: Tensors = field(repr=False)


@dataclass(frozen=True)
class KindFinder:
    """Finds kinds by `settings`; `views` of each correction are fitted. `seed` draws views and steps."""

    settings: KindSettings = field(default_factory=KindSettings)
    views: ViewSettings = field(default_factory=ViewSettings)
    seed: int = 0

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> KindState:
        """From control images uint8 `[n, h, w, c]`. Raises DataError if they are too few, ScopeError."""
        sight = open_sight(model, reference, calibration, self.settings.stages, self.settings.eps)
        every = -(-len(reference) // MOST_CONTROL)
        return KindState(sight, self._scope(model).resolve(model), reference[::every])

    def _scope(self, model: EditableModel) -> Scope:
        """The layers that a kind tunes."""
        if self.settings.scope:
            return Scope(*(each.strip() for each in self.settings.scope.split(",")))
        weighted = [name for name, stage in stages_of(model.backbone) if name and any(True for _ in stage.parameters())]
        return Scope(*weighted[-1:], "head")

    def held_out(self, key: str) -> bool:
        """Whether the correction `key` is held out: its key alone decides."""
        digest = hashlib.sha256(f"held out of kinds {key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.settings.held_out * 2**64

    def find(
        self,
        model: EditableModel,
        constraints: Sequence[Constraint],
        state: KindState,
        regroupings: Sequence[Regrouping] = (),
    ) -> tuple[Kind, ...]:
        """The kinds of the constraints, in the order of their first key; none if too few look alike.

        `regroupings` are what people decided about which belong together. The order of the constraints is no part of
        the result. Raises ConstraintError.
        """
        if not constraints:
            return ()
        images, expected = check_constraints(model, constraints)
        order = canonical_order(constraints)
        known = [index for index in order if not self.held_out(constraints[index].key)]
        other = [index for index in order if self.held_out(constraints[index].key)]
        seen = state.sight.directions(model, images)
        groups = find_groups(seen[known], seen[other], state.sight.controls, self.settings)
        groups = regrouped(groups, [constraints[index].key for index in known], seen[known], regroupings)
        groups = [group for group in groups if len(group) >= self.settings.members]
        kinds = []
        for members in self._recognised(groups, seen[known], state.sight):
            chosen = [known[row] for row in members]
            detector = fit_detectors([seen[chosen]], state.sight.controls, self.settings)
            keys = tuple(constraints[index].key for index in chosen)
            replaced = own_statistics(model, images[chosen], self.settings.batch_norm_share)
            if self.settings.steps:
                views = torch.cat([fitting_views(images[index], self.views, self.seed) for index in chosen])
                replaced |= tune_tail(
                    model,
                    with_tensors(model, replaced),
                    state.layers,
                    views,
                    expected[chosen].repeat_interleave(len(views) // len(chosen)),
                    state.reference,
                    self.settings,
                    self._seed_of(keys),
                )
            kinds.append(Kind(keys, detector.weight[0], detector.threshold[0], float(detector.firing[0]), replaced))
        return tuple(sorted(kinds, key=lambda kind: kind.fitted))

    def _recognised(self, groups: list[np.ndarray], seen: Tensor, sight: Sight) -> list[list[int]]:
        """The rows of each group that its own detector fires on, where they still are enough."""
        if not groups:
            return []
        detectors = fit_detectors([seen[torch.from_numpy(group)] for group in groups], sight.controls, self.settings)
        fires = seen @ detectors.weight.T > detectors.threshold
        found = [[int(row) for row in group if bool(fires[row, number])] for number, group in enumerate(groups)]
        return [rows for rows in found if len(rows) >= self.settings.members]

    def _seed_of(self, keys: tuple[str, ...]) -> int:
        """A seed of the kind's own, so that another kind's corrections do not change it."""
        return int.from_bytes(hashlib.sha256(repr((self.seed, keys)).encode()).digest()[:7], "big")


def with_kinds(model: EditableModel, kinds: Sequence[Kind], state: KindState) -> EditableModel:
    """A copy of `model` with these kinds and no others, in eval mode; every other tensor is its own copy."""
    made = copy.deepcopy(model).eval()
    made.kinds = None
    made.spec = replace(model.spec, kinds=None)
    if not kinds:
        return made
    spec = KindsSpec(
        seen=state.sight.seen,
        width=len(kinds[0].weight),
        cut=min(stage_of(made, name) for each in kinds for name in each.replaced),
        replaced=tuple(tuple(each.replaced) for each in kinds),
    )
    edits = KindEdits(spec, made.state_dict()).to(made.head.weight)
    edits.centre.copy_(state.sight.slots.centre)
    edits.whitening.copy_(state.sight.slots.whitening)
    edits.weight.copy_(torch.stack([each.weight for each in kinds]))
    edits.threshold.copy_(torch.stack([each.threshold for each in kinds]))
    for number, kind in enumerate(kinds):
        for name, value in edits.replaced_by(number).items():
            value.copy_(kind.replaced[name])
    made.kinds = edits
    made.spec = replace(model.spec, kinds=spec)
    return made
