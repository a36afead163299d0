"""The calibrated patch: one rectified slot beside the head for each correction, with a bounded rate of firing.

    logits = head(h) + V relu(W z - b)        z: whitened features of unit length, see `PatchSlots`

`editing.editors.detectors` says when a slot fires (W, b), `editing.editors.slot_values` what it then adds (V), for all
corrections together, since slots may fire on each other's images. Where no slot fires the logits are the root's, bit
for bit.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from errata.editing.constraints.classification import check_constraints, violation
from errata.editing.constraints.demands import canonical_order
from errata.editing.editors.detectors import Background, Detectors, background, calibrate, directions, with_traffic
from errata.editing.editors.kfac import Kfac
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.slot_values import ValueProblem, solve_values
from errata.editing.features import Features
from errata.editing.model import EditableModel, batched_both
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint, EditResult, SlotDiagnostics, Unheld
from errata.editing.views import fitting_views

ON_THE_HEAD = NaturalGradient(Scope("head"), margin=0.5)  # a fallback
_CHUNK = 256  # slots whose activations on all views are held at a time


@dataclass(frozen=True)
class PatchState:
    """What depends on the root only: `controls`, the `centre` and `whitening` of what the slots look at, the Fisher
    matrix of the fallback if there is one, and directions `[m, d]` of unlabelled traffic."""

    controls: Background
    centre: Tensor
    whitening: Tensor
    fisher: Kfac | None
    traffic: Tensor


@dataclass(frozen=True)
class _Solved:
    """The rows `chosen` for slots and what those add, `values` `[chosen, classes]`; of all corrections `[k]` which
    were `wanted` in the end and which `refused` as in conflict; `reason` on those that got none."""

    chosen: Tensor
    values: Tensor
    wanted: Tensor
    refused: Tensor
    reason: str


@dataclass(frozen=True)
class CalibratedPatch:
    """Writes one slot a correction; a constraint that holds already takes none, unless another slot breaks it.

    `alpha` (a probability): how often a slot may fire on a fresh control image (0: on no calibration image).
    `gamma` (a factor): weight of the views' scatter. `eps` (a share of the mean variance of control features): ridge
    of their covariance. `margin` (logits): by how much the expected class must win on fitted views. `faintest`
    (standard deviations of the slot's scores on calibration images): the least activation that counts as firing on the
    image itself. `weakest` (a share of the activation on the image itself): fitted views on which the slot fires less
    need not win (they would need a large `v`, which does harm wherever else the slot fires). `tau` (a share): how far
    thresholds are raised towards the `tau_quantile` of the views' scores. `seed` draws the views.

    Corrections that no slot can hold are deferred, each with why. A `fallback`, an editor of the head alone
    (`ON_THE_HEAD`), takes those that no slot can tell from the calibration images instead. It moves every prediction a
    little, so it comes first and the slots are solved on top of it. `features` keeps what was computed before.

    `traffic`, unlabelled images uint8 `[m, h, w, c]`, calibrates thresholds beside the calibration split: the more
    images, the more corrections fire on next to nothing together.
    """

    alpha: float = 0.0
    gamma: float = 1.0
    views: ViewSettings = field(default_factory=ViewSettings)
    eps: float = 0.01
    margin: float = 2.0
    faintest: float = 0.1
    weakest: float = 0.3
    tau: float = 0.3
    tau_quantile: float = 0.25
    seed: int = 0
    fallback: NaturalGradient | None = None
    features: Features = field(default_factory=Features)
    traffic: Tensor | None = field(default=None, repr=False)

    @property
    def _on_the_head(self) -> NaturalGradient | None:
        """The fallback, with the same features."""
        return replace(self.fallback, features=self.features) if self.fallback else None

    def prepare(self, model: EditableModel, reference: Tensor, calibration: Tensor) -> PatchState:
        """Features of both splits, uint8 `[n, h, w, c]`, and what follows from them; raises DataError if too few.

        A root whose patch was never fitted (`fit_patch`) gets it from the reference split: the result is the same, but
        the first delta then carries the whitening as well.
        """
        slots = copy.deepcopy(model.patch)
        features = self.features.of(model, reference)
        if not slots.fitted:
            slots.fit(features)
        seen = slots.directions(features), slots.directions(self.features.of(model, calibration))
        fisher = self._on_the_head.prepare(model, reference, calibration) if self._on_the_head else None
        unlabelled = seen[1][:0] if self.traffic is None else slots.directions(self.features.of(model, self.traffic))
        return PatchState(background(*seen, self.eps), slots.centre, slots.whitening, fisher, unlabelled)

    def edit(self, model: EditableModel, constraints: Sequence[Constraint], state: PatchState) -> EditResult:
        """Fill slots in a copy of `model`, on top of its kinds. Raises ConstraintError."""
        started = time.perf_counter()
        images, expected = check_constraints(model, constraints)
        order = canonical_order(constraints)
        edited = copy.deepcopy(model).eval()
        edited.patch.centre.copy_(state.centre)
        edited.patch.whitening.copy_(state.whitening)
        with torch.no_grad():
            hidden = self.features.of_views(model, images[order], fitting_views, self.views, self.seed)
            chosen = [constraints[i] for i in order]
            slots, unheld, reason = self._write(edited, chosen, images[order], hidden, expected[order], state)
            if not slots:  # nothing to do: not even what the slots look at has changed
                edited = copy.deepcopy(model).eval()
            met = violation(self._logits(edited, images[order], hidden)[:, 0], expected[order]) <= 0  # the image itself
        holds = tuple(
            bool(one) for one in torch.empty_like(met).index_copy_(0, torch.tensor(order).to(met.device), met)
        )
        missing = len(holds) - sum(holds)
        reason = f"{missing} of {len(holds)} corrections do not hold: {reason}" if missing else ""
        deferred = {order[row]: why for row, why in unheld.items() if not met[row]}
        seconds = time.perf_counter() - started
        return EditResult(edited, not missing, holds, int(bool(slots)), reason, seconds, slots, deferred)

    def _logits(self, model: EditableModel, images: Tensor, hidden: Tensor) -> Tensor:
        """Logits float64 `[k, v, classes]` of the fitted views, from `hidden` alone where no kind decides."""
        if model.kinds is None:
            return _classified(model, hidden)
        fitted = torch.stack([fitting_views(image, self.views, self.seed) for image in images])
        logits: Tensor = batched_both(model, fitted.flatten(0, 1))[1].double().unflatten(0, fitted.shape[:2])
        return logits

    def _write(
        self,
        model: EditableModel,
        constraints: Sequence[Constraint],
        images: Tensor,
        hidden: Tensor,
        expected: Tensor,
        state: PatchState,
    ) -> tuple[tuple[SlotDiagnostics, ...], dict[int, Unheld], str]:
        """Fill the free slots of `model`; what came of each, which rows got none, and a sentence on those.

        `hidden` `[k, v, d]`: features of the fitted views of each correction, the image itself first.
        """
        logits = self._logits(model, images, hidden)
        features = model.patch.directions(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        wanted = violation(logits[:, 0], expected) > 0
        if not bool(wanted.any()):
            return (), {}, ""
        discriminants = directions(features, state.controls, self.gamma)
        controls = with_traffic(state.controls, state.traffic, features[:, 0])
        detectors = calibrate(discriminants, controls, self.alpha, features, self.tau, self.tau_quantile)
        own = (features @ detectors.weight[:, :, None])[:, :, 0] - detectors.threshold[:, None]  # [k, v]
        # a threshold that was raised has left at least 1 - tau of what the image's score was above it
        separated = own[:, 0] > (1 - self.tau) * self.faintest * detectors.deviation
        apart = (wanted & ~separated).nonzero()[:, 0].tolist()
        if apart and self._on_the_head and state.fisher:
            with torch.enable_grad():
                other = self._on_the_head.edit(model, [constraints[one] for one in apart], state.fisher).model
            model.head.load_state_dict(other.head.state_dict())
            logits = self._logits(model, images, hidden)
            wanted |= violation(logits[:, 0], expected) > 0
        free = (model.patch.weight.abs().amax(1) + model.patch.value.abs().amax(1) == 0).nonzero()[:, 0]
        solved = self._solve(len(free), wanted, separated, features, logits, expected, own, detectors)
        chosen = solved.chosen
        taken = free[: len(chosen)]
        model.patch.weight[taken] = detectors.weight[chosen]
        model.patch.threshold[taken] = detectors.threshold[chosen]
        model.patch.value[taken] = solved.values.to(model.patch.value.dtype)
        slots = dict(zip(chosen.tolist(), taken.tolist(), strict=True))
        lowest = (own.amin(1) / detectors.deviation).tolist()
        firing = detectors.firing.tolist()
        asked = solved.wanted.nonzero()[:, 0].tolist()
        diagnostics = tuple(
            SlotDiagnostics(constraints[one].key, slots.get(one, -1), lowest[one], firing[one], one in slots)
            for one in asked
        )
        unheld = {
            one: Unheld.NOT_APART if not separated[one] else Unheld.CONFLICT if solved.refused[one] else Unheld.NO_SLOT
            for one in asked
            if one not in slots
        }
        return diagnostics, unheld, solved.reason

    def _solve(
        self,
        room: int,
        wanted: Tensor,
        separated: Tensor,
        features: Tensor,
        logits: Tensor,
        expected: Tensor,
        own: Tensor,
        detectors: Detectors,
    ) -> _Solved:
        """Slots for as many of the corrections `wanted` `[k]` that are `separated` `[k]` as can hold together, at most
        `room`: the others are left out one set after the other until the rest has a solution."""
        reason = "" if bool(separated[wanted].all()) else "their features are not apart from those of control images"
        refused = torch.zeros_like(wanted)
        strict = torch.ones_like(wanted)  # whose other views must win too, not only the image itself
        while True:
            chosen = (wanted & separated & ~refused).nonzero()[:, 0]
            if len(chosen) > room:
                reason = f"the patch has {room} free slots for {len(chosen)} corrections; train a new root"
                chosen = chosen[:room]
            problem = self._problem(chosen, strict, features, logits, expected, own, detectors)
            values, unsolved = solve_values(problem, len(chosen), self.margin)
            broken = _broken(problem, values, wanted) & separated & ~refused
            stuck = chosen[unsolved]
            if bool(strict[stuck].any()):
                # A view of one may be all but another's image: promises before generalization.
                strict[stuck] = False
            elif len(stuck):
                reason = "nearly the same image is corrected to another class; remove one of the two"
                # What pulls hardest cannot win; most of those that it pulled along can, once it is out.
                refused[stuck[values[unsolved].abs().amax(1).topk(-(-len(stuck) // 4)).indices]] = True
            elif bool(broken.any()) and len(chosen) < room:
                wanted |= broken
            else:
                break
        return _Solved(chosen, values, wanted, refused, reason)

    def _problem(
        self,
        chosen: Tensor,
        strict: Tensor,
        features: Tensor,
        logits: Tensor,
        expected: Tensor,
        own: Tensor,
        detectors: Detectors,
    ) -> ValueProblem:
        """Every firing of the slots of `chosen` on any fitted view, and which views each must win."""
        count, views = own.shape
        rows = features.flatten(0, 1)
        found = []
        for start in range(0, max(len(chosen), 1), _CHUNK):
            part = chosen[start : start + _CHUNK]
            activations = torch.relu(rows @ detectors.weight[part].T - detectors.threshold[part])
            view, slot = activations.nonzero(as_tuple=True)
            found.append((view, slot + start, activations[view, slot].double()))
        view, slot, activation = (torch.cat(column) for column in zip(*found, strict=True))
        owner = torch.full((count,), -1, device=rows.device).index_copy_(
            0, chosen, torch.arange(len(chosen), device=rows.device)
        )
        counts = own >= self.weakest * own[:, :1]
        counts[~strict, 1:] = False
        return ValueProblem(
            logits.flatten(0, 1),
            expected.repeat_interleave(views),
            torch.where(counts, owner[:, None], -1).flatten(),
            own.double().flatten(),
            view,
            slot,
            activation,
        )


def _classified(model: EditableModel, hidden: Tensor) -> Tensor:
    """Logits float64 `[k, v, classes]` of features `[k, v, d]`."""
    logits: Tensor = model.classify(hidden.flatten(0, 1)).double().unflatten(0, hidden.shape[:2])
    return logits


def _broken(problem: ValueProblem, values: Tensor, wanted: Tensor) -> Tensor:
    """Constraints without a slot that `values` make fail on the image itself, `[k]`."""
    logits = problem.logits.index_add(0, problem.view, problem.activation[:, None] * values[problem.slot])
    fails: Tensor = violation(logits, problem.expected).unflatten(0, (len(wanted), -1))[:, 0] > 0
    return fails & ~wanted
