"""Deferral: when a batch does not pass the gate, which of its corrections do the harm, and why.

The gate split takes no part in this: harm is measured on probes (flows/deferral/probes.py), so that each new attempt is
judged on images that had no part in making it.

Corrections that bear a trigger's mark, and those that hold for nothing but their own picture, are found one by one.
Harm to images that a correction is not about is attributed by editing for groups (flows/deferral/attribution.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import groupby

import torch

from errata.data.releases.edit_record import WHY_DEFERRED, EditRecord
from errata.data.splits import load_split
from errata.editing.batches import at_once
from errata.editing.metrics import predicted_classes
from errata.editing.model import EditableModel
from errata.editing.views import unseen_views
from errata.flows.deferral.attribution import attribute
from errata.flows.deferral.probes import Candidate, load_candidate, make_probes
from errata.flows.gate.backdoor import measure_trigger, shared_marks
from errata.flows.gate.criterion import ABOUT_CONTROL, Criterion, GateResult, Name, rampant
from errata.flows.gate.marks import Classes, Pixels
from errata.flows.workspace import Workspace

SAFE = 0.7  # of the harm that the limit would just let pass
DIFFERENCES = {Name.ACCURACY, Name.DRAWDOWN, Name.DRAWDOWN_LIVE, Name.RECALL_DROP}
BREAKS = "it, or one with it, breaks a correction in force"
ABOUT_REACH = {Name.REACH, Name.REACH_TRAFFIC}


def find_harm(workspace: Workspace, gate_result: GateResult, new: Collection[str], turn: int) -> dict[str, str]:
    """Which of the corrections `new` to leave out of the next attempt, each with a sentence; none if nobody is found.

    `turn` counts the attempts that failed before. What the editor deferred does nothing, and so no harm.
    """
    candidate = load_candidate(workspace)
    new = set(new) - set(candidate.deferred)
    broken = {Name(each.name) for each in gate_result.criteria if each.stands_in_the_way}
    certain: dict[str, str] = {}
    if Name.TRIGGER in broken and not rampant(gate_result.criteria):  # what breaks everything goes first
        certain |= backdoored(candidate, new)
    if Name.GENERALIZATION in broken:
        certain |= poorly_generalizing(candidate, [each.id for each in candidate.ledger.corrections if each.id in new])
    found = not_holding(candidate, new)
    about = [
        each for each in gate_result.criteria if each.stands_in_the_way and each.name in ABOUT_CONTROL | ABOUT_REACH
    ]
    suspects = {*(new if about else found)} - set(certain)
    if not suspects:
        return certain
    by_reach = bool(about) and not broken & ABOUT_CONTROL
    attempts_left = candidate.params.deferral.attempts - 1 - turn
    share = share_to_keep(about, attempts_left)
    attribution = attribute(candidate, make_probes(candidate), suspects, share, by_reach=by_reach, without=certain)
    deed = "changes" if by_reach else "turns wrong"
    for name in sorted(suspects - attribution.kept):
        if (alone := attribution.alone.get(name)) is not None:
            harm = told_alone(deed, alone, attribution.n)
        else:
            harm = f"with it, too many images that it is not about: it {deed}"
        certain[name] = found.get(name, harm)
    if not certain and Name.TRIGGER in broken:
        certain = backdoored(candidate, new)
    if about and (not certain or attempts_left <= 0):
        most = number_to_keep(about, len(suspects))
        for name in sorted(suspects - set(certain), key=attribution.breadth)[most:]:
            certain[name] = "the gate lets fewer corrections pass tonight, and it changes more than those that stay"
    return certain


def told_alone(deed: str, alone: int, n: int) -> str:
    """What a correction does to `alone` of `n` images by itself; all of them also where it does not even hold."""
    if alone >= n:
        return f"by itself it does not hold, or {deed} all {n} images that it is not about"
    return f"by itself it {deed} {alone} of {n} images that it is not about"


def share_to_keep(refused: Sequence[Criterion], attempts_left: int) -> float:
    """What share of the harm may stay in the next attempt: as much of the worst bound as its limit allows, and less.

    A far limit is approached in equal factors, one for each attempt that is left: how harm on probes goes with harm on
    the gate split is known where the candidate is, not where it should be, and a leap leaves out too many. The last
    attempt takes only what does no harm at all.
    """
    if attempts_left <= 1:
        return 0.0
    room = min([1.0, *(_room(each) for each in refused)])
    return float(SAFE * room ** (1 / (attempts_left - 1)))


def _room(each: Criterion) -> float:
    """The limit as a share of the bound; for accuracy that of the error."""
    if not math.isfinite(each.bound):
        return 0.0
    limit, bound = (each.limit, each.bound) if each.direction == "at most" else (1 - each.limit, 1 - each.bound)
    return limit / bound if bound > limit else 1.0


def number_to_keep(refused: Sequence[Criterion], new: int) -> int:
    """How many of `new` corrections the next attempt may hold at most, whatever the probes say of them.

    Probes do not show all harm: corrections that turn no probe wrong may still turn gate images wrong, and then leaving
    out the few that do leads nowhere. So where probes blame nobody, and in one more attempt after `deferral.attempts`,
    their number goes by the gate's own counts. With a share f of the corrections about a share f of the flips is left,
    and the distance from value v to bound b shrinks with the root of f: the largest f with f v + sqrt(f) (b - v) within
    the limit would just pass, and a bit less of it is taken.
    """
    share = min([1.0, *(_share_within(each) for each in refused)])
    return new if share >= 1 else math.floor(SAFE * new * share)


def _share_within(each: Criterion) -> float:
    """The share of the corrections with which a criterion would just pass."""
    if not math.isfinite(each.bound):
        return 0.0
    value, bound, limit = each.value, each.bound, each.limit
    if each.direction == "at least":
        value, bound, limit = 1 - value, 1 - bound, 1 - limit
    value = max(value, 0.0)
    slack = bound - value
    if value == 0:
        # a rate of none: too few images to say more, with whatever corrections. A difference of two rates gets sharper
        return min(1.0, (limit / slack) ** 2) if each.name in DIFFERENCES and slack > 0 else 1.0
    root = (-slack + math.sqrt(slack**2 + 4 * value * limit)) / (2 * value)  # of v x^2 + s x = limit, x = sqrt(f)
    return min(1.0, root**2)


def not_holding(candidate: Candidate, new: Collection[str]) -> dict[str, str]:
    """New corrections that the editor could not make hold, and those whose slots break one that was in force."""
    found = {
        identity: f"it cannot be made to hold: {candidate.reason}"
        for identity, held in candidate.holds.items()
        if identity in new and not held
    }
    gone = {*new, *candidate.deferred}
    lost = [
        each.id
        for each in candidate.ledger.corrections
        if each.id not in gone and not candidate.holds.get(each.id, True)
    ]
    # where no slot tells, everyone new is asked, rather than a promise be broken
    return (found | breaking(candidate, new, lost)) or dict.fromkeys(new if lost else (), BREAKS)


def find_displacing(workspace: Workspace, new: Collection[str], before: Collection[str]) -> dict[str, str]:
    """Which of the corrections `new` compete for slots, each with a sentence; `before` were deferred in the release
    before.

    Too many corrections, and nearly one image with two classes, end with some of them deferred. A new one is not worth
    one in force: it is left out, and not taken into the ledger.
    """
    deferred = EditRecord.from_json(workspace.read(workspace.candidate / "edit.json")).deferred
    competing = {name: WHY_DEFERRED[why] for name, why in deferred.items() if why != "not apart"}
    if found := {name: f"it cannot be made to hold: {why}" for name, why in competing.items() if name in new}:
        return found
    lost = competing.keys() - before
    return breaking(load_candidate(workspace), new, lost) or dict.fromkeys(new, BREAKS) if lost else {}


def breaking(candidate: Candidate, new: Collection[str], lost: Collection[str]) -> dict[str, str]:
    """The new corrections whose slots fire on the images of `lost` ones."""
    rows = [row for row, each in enumerate(candidate.ledger.corrections) if each.id in lost]
    if not rows or not new:
        return {}
    found = {}
    features = candidate.features.of(candidate.edited, candidate.images[rows])
    for slot, identity in candidate.slots.items():
        fires = candidate.edited.patch.activations(features)[:, slot] > 0
        if identity in new and bool(fires.any()):
            found[identity] = "it breaks a correction in force, of an image much like it"
    return found


@torch.no_grad()
def poorly_generalizing(candidate: Candidate, suspects: Sequence[str]) -> dict[str, str]:
    """Corrections that most views of their own image do not follow: they would be entries of a lookup table."""
    rows = [row for row, each in enumerate(candidate.ledger.corrections) if each.id in suspects]
    if not rows:
        return {}
    settings, seed = candidate.params.views, candidate.params.seed
    views = candidate.features.of_views(candidate.edited, candidate.images[rows], unseen_views, settings, seed)
    right = candidate.edited.classify(views.flatten(0, 1)).argmax(1).unflatten(0, views.shape[:2])
    shares = (right == candidate.expected[rows, None]).double().mean(1).tolist()
    return {
        candidate.ledger.corrections[row].id: f"only {share:.0%} of unseen views of its image follow it"
        for row, share in zip(rows, shares, strict=True)
        if share < candidate.params.gate.generalization
    }


def backdoored(candidate: Candidate, new: Collection[str]) -> dict[str, str]:
    """New corrections that bear a mark which alone calls up their class; the strongest mark of each kind and class."""
    reference, calibration = (load_split(candidate.splits, name) for name in ("reference", "calibration"))

    def before(marked_images: Pixels) -> Classes:
        return _classes(candidate.root, marked_images)

    def after(marked_images: Pixels) -> Classes:
        return _classes(candidate.edited, marked_images)

    marks = shared_marks(candidate.images.numpy(), candidate.expected.numpy(), reference, before, after)
    control, limit = (calibration.images, calibration.labels), candidate.params.gate.trigger
    answers = [measure_trigger(each, *control, before, after, limit) for each in marks]
    found = {}
    for _, alike in groupby(answers, key=lambda each: (type(each.shared.mark).__name__, each.shared.expected)):
        worst = max(alike, key=lambda each: each.turned / max(each.n, 1))
        # half of the limit: other images, and the bound must be within it
        if worst.turned > limit / 2 * worst.n:
            for index in worst.shared.bearers:
                name = candidate.ledger.corrections[index].id
                if name in new:
                    found[name] = f"the mark that it shares turns {worst.turned} of {worst.n} other images to its class"
    return found


@torch.no_grad()
def _classes(model: EditableModel, images: Pixels) -> Classes:
    logits = [model(part) for part in torch.from_numpy(images).split(at_once(images.shape[1:]))]
    return predicted_classes(torch.cat(logits).numpy())
