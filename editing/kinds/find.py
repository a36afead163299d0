"""Kinds of corrections: found, given a detector and a change of the network each, and put into a model.

    state = finder.prepare(root, reference, calibration)
    kinds = finder.find(root, constraints, state)             those that hold up on their own corrections
    model = with_kinds(root, kinds, state)                     the root's logits, bit for bit, where none fires

Part of the corrections, by a digest of their keys, is held out: no detector and no change is fitted to them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from errata.editing.constraints.classification import check_constraints
from errata.editing.constraints.demands import canonical_order
from errata.editing.editors.detectors import Background
from errata.editing.features import Features
from errata.editing.kinds.batch_norm import own_statistics, with_tensors
from errata.editing.kinds.concepts import ConceptSight, open_concepts
from errata.editing.kinds.grouping import Regrouping, find_groups, fit_detectors, regrouped
from errata.editing.kinds.sight import Sight, open_sight
from errata.editing.kinds.tail import evenly, tune_tail, tuned
from errata.editing.model import EditableModel
from errata.editing.network import BareTail, stages_of
from errata.editing.networks.kind_edits import KindEdits, KindsSpec
from errata.editing.scopes import EditableLayers, Scope, stage_of
from errata.editing.settings import KindSettings, ViewSettings
from errata.editing.types import Constraint, Tensors
from errata.editing.views import fitting_views

Worth = Callable[[int, int], bool]


@dataclass(frozen=True)
class KindState:
    """What depends on the root only: what detectors of both sorts of kind look at, where they are looked for, the
    layers that kinds of image tune, and control images."""

    sight: Sight | None
    layers: EditableLayers
    reference: Tensor
    concepts: ConceptSight | None = None


@dataclass(frozen=True, eq=False)
class Kind:
    """A detector `weight` `[s]` with its `threshold`, and what is put in place of the model's tensors where it fires.

    `fitted` are the keys of the corrections that it was fitted to, `held_out` those of the held-out ones on which it
    fires; `firing` is the share of calibration images on which it does. That of a `concept` looks at features. Nothing
    is `replaced` by one that was not worth it.
    """

    fitted: tuple[str, ...]
    weight: Tensor
    threshold: Tensor
    firing: float
    replaced: Tensors = field(repr=False)
    concept: bool = False
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Given:
    """Corrections of `model` by their `keys`, uint8 `images` `[n, h, w, c]` and `expected` classes int64 `[n]`: the
    `known` ones, which may be fitted, and the `other` ones, which are held out, both as rows in canonical order."""

    model: EditableModel
    keys: list[str]
    images: Tensor
    expected: Tensor
    known: list[int]
    other: list[int]

    def without(self, gone: Tensor) -> _Given:
        """The same without the rows for which `gone` `[n]` is true."""
        known, other = ([row for row in rows if not bool(gone[row])] for rows in (self.known, self.other))
        return replace(self, known=known, other=other)


@dataclass(frozen=True)
class KindFinder:
    """Finds kinds by `settings`; `views` of each correction are fitted. `seed` draws views and steps; `features`
    computes those of the root, or has them."""

    settings: KindSettings = field(default_factory=KindSettings)
    views: ViewSettings = field(default_factory=ViewSettings)
    seed: int = 0
    features: Features = field(default_factory=Features)

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> KindState:
        """From control images uint8 `[n, h, w, c]`. Raises DataError if they are too few, ScopeError."""
        sight, concepts, eps = None, None, self.settings.eps
        if self.settings.most:
            sight = open_sight(model, self.features, reference, calibration, self.settings.stages, eps)
        if self.settings.concept.most:
            concepts = open_concepts(model, self.features, reference, calibration, eps)
        return KindState(sight, self._scope(model).resolve(model), evenly(reference), concepts)

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
        worth: Worth = lambda _held_out, _kinds: True,
    ) -> tuple[Kind, ...]:
        """The kinds of the constraints, in the order of their first key; none if too few look alike.

        `regroupings` are what people decided about which belong together. A kind is given its change only where `worth`
        says so, of how many held-out constraints it fires on and how many kinds there are: that is what is dear. The
        order of the constraints is no part of the result. Raises ConstraintError.
        """
        if not constraints:
            return ()
        images, expected = check_constraints(model, constraints)
        order = canonical_order(constraints)
        given = _Given(
            model,
            [each.key for each in constraints],
            images,
            expected,
            [index for index in order if not self.held_out(constraints[index].key)],
            [index for index in order if self.held_out(constraints[index].key)],
        )
        kinds: list[Kind] = []
        if state.sight:
            kinds, given = self._of_images(given, state, state.sight, regroupings, worth)
        if state.concepts:
            kinds += self._of_concepts(given, state.concepts, regroupings, worth)
        return tuple(sorted(kinds, key=lambda kind: (kind.concept, kind.fitted)))

    def _of_images(
        self, given: _Given, state: KindState, sight: Sight, regroupings: Sequence[Regrouping], worth: Worth
    ) -> tuple[list[Kind], _Given]:
        """Kinds of image, and the corrections that are of none."""
        model = given.model
        seen = sight.directions(model, given.images, self.features)

        def replaced(chosen: list[int], keys: tuple[str, ...]) -> Tensors:
            own = own_statistics(model, given.images[chosen], self.settings.batch_norm_share)
            if not self.settings.steps:
                return own
            views = torch.cat([fitting_views(given.images[index], self.views, self.seed) for index in chosen])
            return own | tune_tail(
                model,
                with_tensors(model, own),
                state.layers,
                views,
                given.expected[chosen].repeat_interleave(len(views) // len(chosen)),
                state.reference,
                self.settings,
                self._seed_of(keys),
                self.features,
            )

        members = _members(given, seen, sight.controls, self.settings, regroupings)
        kinds = _kinds(given, seen, members, sight.controls, self.settings, worth, replaced)
        fires = torch.zeros(len(given.keys), dtype=torch.bool, device=seen.device)
        for kind, chosen in zip(kinds, members, strict=True):
            fires |= seen @ kind.weight > kind.threshold
            fires[chosen] = True
        return kinds, given.without(fires)

    def _of_concepts(
        self, given: _Given, sight: ConceptSight, regroupings: Sequence[Regrouping], worth: Worth
    ) -> list[Kind]:
        """Kinds of concept."""
        if len(given.known) < self.settings.members:
            return []
        model, settings = given.model, self.settings.of_concepts
        views = self.features.of_views(model, given.images, fitting_views, self.views, self.seed)
        seen = sight.slots.directions(views[:, 0])  # of the image itself, which is the first view
        head = {"head.weight": model.head.weight, "head.bias": model.head.bias}
        tail = BareTail(model.backbone, model.head, len(stages_of(model.backbone)))
        with torch.no_grad():
            root = model.head(sight.reference).log_softmax(1)

        def replaced(chosen: list[int], keys: tuple[str, ...]) -> Tensors:
            hidden, expected = views[chosen].flatten(0, 1), given.expected[chosen].repeat_interleave(views.shape[1])
            return tuned(tail, head, hidden, expected, sight.reference, root, settings, self._seed_of(keys))

        members = _members(given, seen, sight.controls, settings, regroupings)
        kinds = _kinds(given, seen, members, sight.controls, settings, worth, replaced)
        return [replace(kind, concept=True) for kind in kinds]

    def _seed_of(self, keys: tuple[str, ...]) -> int:
        """A seed of the kind's own, so that another kind's corrections do not change it."""
        return int.from_bytes(hashlib.sha256(repr((self.seed, keys)).encode()).digest()[:7], "big")


def _kinds(
    given: _Given,
    seen: Tensor,
    members: Sequence[list[int]],
    controls: Background,
    settings: KindSettings,
    worth: Worth,
    replaced: Callable[[list[int], tuple[str, ...]], Tensors],
) -> list[Kind]:
    """A kind of each of the `members`, by what detectors see of all corrections, `[n, s]`; `replaced` makes its change,
    of rows and their keys, where it is worth it."""
    found = []
    for chosen in members:
        detector = fit_detectors([seen[chosen]], controls, settings)
        weight, threshold = detector.weight[0], detector.threshold[0]
        keys = tuple(given.keys[index] for index in chosen)
        held_out = tuple(given.keys[index] for index in given.other if bool(seen[index] @ weight > threshold))
        change = replaced(chosen, keys) if worth(len(held_out), len(members)) else {}
        found.append(Kind(keys, weight, threshold, float(detector.firing[0]), change, held_out=held_out))
    return found


def _members(
    given: _Given, seen: Tensor, controls: Background, settings: KindSettings, regroupings: Sequence[Regrouping]
) -> list[list[int]]:
    """The corrections of each kind, by what detectors see of all of them, `[n, s]`: those of its group on which the
    group's own detector fires, where they still are enough."""
    known = seen[given.known]
    groups = find_groups(known, seen[given.other], controls, settings)
    groups = regrouped(groups, [given.keys[index] for index in given.known], known, regroupings)
    groups = [group for group in groups if len(group) >= settings.members]
    if not groups:
        return []
    detectors = fit_detectors([known[torch.from_numpy(group)] for group in groups], controls, settings)
    fires = known @ detectors.weight.T > detectors.threshold
    found = [[given.known[row] for row in group if bool(fires[row, number])] for number, group in enumerate(groups)]
    return [rows for rows in found if len(rows) >= settings.members]


def with_kinds(model: EditableModel, kinds: Sequence[Kind], state: KindState) -> EditableModel:
    """A copy of `model` with these kinds and no others, in eval mode; every other tensor is its own copy."""
    made = copy.deepcopy(model).eval()
    made.kinds = None
    made.spec = replace(model.spec, kinds=None)
    if not kinds:
        return made
    images, concepts = ([each for each in kinds if each.concept == concept] for concept in (False, True))
    spec = KindsSpec(
        seen=state.sight.seen if images and state.sight else (),
        width=len(images[0].weight) if images else 0,
        cut=min((stage_of(made, name) for each in images for name in each.replaced), default=0),
        replaced=tuple(tuple(each.replaced) for each in (*images, *concepts)),
        concepts=len(concepts),
    )
    edits = KindEdits(spec, made.state_dict()).to(made.head.weight)
    if images and state.sight:
        edits.centre.copy_(state.sight.slots.centre)
        edits.whitening.copy_(state.sight.slots.whitening)
        edits.weight.copy_(torch.stack([each.weight for each in images]))
        edits.threshold.copy_(torch.stack([each.threshold for each in images]))
    if concepts and state.concepts:
        made.patch.centre.copy_(state.concepts.slots.centre)
        made.patch.whitening.copy_(state.concepts.slots.whitening)
        edits.concept_weight.copy_(torch.stack([each.weight for each in concepts]))
        edits.concept_threshold.copy_(torch.stack([each.threshold for each in concepts]))
    for number, kind in enumerate((*images, *concepts)):
        for name, value in edits.replaced_by(number).items():
            value.copy_(kind.replaced[name])
    made.kinds = edits
    made.spec = replace(model.spec, kinds=spec)
    return made
