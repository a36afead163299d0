"""Deferral: when a batch does not pass the gate, which of its corrections do the harm, and why.

Harm is looked for on probes: labelled images that the release decision does not rest on, each with a few views of it.
The gate split is never asked who did it, so every new attempt is judged on images that had no part in making it.

Where the editor writes slots, one look tells: a probe that turned wrong is blamed on the slot that pushed it most.
Other editors change weights that all corrections share; there groups are tested (flows/group_testing.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.splits import load_split
from editing.model import EditableModel, batched_features, load_model
from editing.types import Constraint
from editing.views import ViewSettings, unseen_views
from flows.editor import build_editor, learned_rule
from flows.gate import Judgement, Name
from flows.group_testing import keep_harmless
from flows.ledger import Ledger, read_ledger
from flows.params import Params
from flows.workspace import Workspace

PROBED = ("train", "reference", "calibration")  # all that is labelled, but gate and test
SOONER = 4  # each further attempt is so many times less patient with harm
ABOUT_CONTROL = {
    Name.ACCURACY,
    Name.DRAWDOWN,
    Name.DRAWDOWN_LIVE,
    Name.NEGATIVE_FLIPS,
    Name.RECALL_DROP,
    Name.BOUNDARY_FLIPS,
}
ABOUT_REACH = {Name.REACH, Name.REACH_TRAFFIC}


@dataclass(frozen=True)
class Probes:
    """`images` uint8 `[n, h, w, c]` that the root gets right, and their `labels` `[n]`."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Workbench:
    """What the pipeline left in the workspace, loaded: enough to ask who did what."""

    params: Params
    root: EditableModel
    candidate: EditableModel
    ledger: Ledger
    images: Tensor
    expected: Tensor
    holds: dict[str, bool]
    reason: str
    slots: dict[int, str]  # which correction a slot of the patch belongs to
    splits: Path
    learned: Path


def load_workbench(workspace: Workspace) -> Workbench:
    """Read the last attempt's models, ledger and diagnostics."""
    root = load_model(workspace.root)
    ledger, images = read_ledger(workspace.ledger, root.spec.image_shape)
    report = workspace.read_json(workspace.candidate / "edit.json")
    classes = {name: index for index, name in enumerate(root.spec.classes)}
    return Workbench(
        workspace.params,
        root,
        load_model(workspace.candidate),
        ledger,
        torch.from_numpy(images),
        torch.tensor([classes[each.expected] for each in ledger.corrections], dtype=torch.int64),
        report["holds"],
        report["reason"],
        {each["slot"]: each["key"] for each in report["slots"] if each["separated"]},
        workspace.splits,
        workspace.root,
    )


def find_harm(workspace: Workspace, judgement: Judgement, new: Collection[str], turn: int) -> dict[str, str]:
    """Which of the corrections `new` to leave out of the next attempt, each with a sentence; none if nobody is found.

    `turn` counts the attempts that failed before; with each the patience with harm shrinks.
    """
    bench = load_workbench(workspace)
    found = unheld(bench, new)
    broken = {Name(each.name) for each in judgement.criteria if each.verdict != "pass"}
    suspects = [each.id for each in bench.ledger.corrections if each.id in new and each.id not in found]
    if Name.GENERALIZATION in broken:
        found |= narrow(bench, suspects)
    if not broken & (ABOUT_CONTROL | ABOUT_REACH):
        return found
    probes = make_probes(bench)
    patience = bench.params.deferral.harm / SOONER**turn
    if bench.slots:
        return found | blamed(bench, probes, suspects, patience, by_reach=not broken & ABOUT_CONTROL)
    return found | tested(bench, probes, suspects, patience)


def unheld(bench: Workbench, new: Collection[str]) -> dict[str, str]:
    """New corrections that the editor could not make hold, and those whose slots break one that was in force."""
    found = {
        identity: f"it cannot be made to hold: {bench.reason}"
        for identity, held in bench.holds.items()
        if identity in new and not held
    }
    lost = [
        index
        for index, each in enumerate(bench.ledger.corrections)
        if each.id not in new and not bench.holds.get(each.id, True)
    ]
    if not lost:
        return found
    features = batched_features(bench.candidate, bench.images[lost])
    for slot, identity in bench.slots.items():
        fires = bench.candidate.patch.activations(features)[:, slot] > 0
        if identity in new and bool(fires.any()):
            found[identity] = "it breaks a correction in force, of an image much like it"
    # no slot tells: then the batch as a whole must wait, rather than a promise be broken
    return found or dict.fromkeys(new, "it, or one with it, breaks a correction in force")


def narrow(bench: Workbench, suspects: Sequence[str]) -> dict[str, str]:
    """Corrections that most views of their own image do not follow: they would be entries of a lookup table."""
    settings, seed = _views(bench.params), bench.params.seed
    found = {}
    for index, each in enumerate(bench.ledger.corrections):
        if each.id in suspects:
            views = unseen_views(bench.images[index], settings, seed)
            share = float((_classes(bench.candidate, views) == bench.expected[index]).double().mean())
            if share < bench.params.gate.generalization:
                found[each.id] = f"only {share:.0%} of unseen views of its image follow it"
    return found


def make_probes(bench: Workbench) -> Probes:
    """Labelled images and views of them that the root gets right; at most `deferral.probes` of both together."""
    settings = replace(_views(bench.params), unseen=bench.params.deferral.views)
    splits = [load_split(bench.splits, name) for name in PROBED]
    images, labels = (np.concatenate([getattr(one, part) for one in splits]) for part in ("images", "labels"))
    take = np.linspace(0, len(images) - 1, min(len(images), bench.params.deferral.probes // (1 + settings.unseen)))
    chosen = torch.from_numpy(images[take.astype(np.int64)])
    each = [torch.cat([image[None], unseen_views(image, settings, bench.params.seed)]) for image in chosen]
    known = torch.from_numpy(labels[take.astype(np.int64)]).repeat_interleave(1 + settings.unseen)
    views = torch.cat(each)
    right = _classes(bench.root, views) == known
    return Probes(views[right], known[right])


@torch.no_grad()
def blamed(
    bench: Workbench, probes: Probes, suspects: Collection[str], patience: float, *, by_reach: bool
) -> dict[str, str]:
    """Suspects whose slots turn more than the share `patience` of the probes wrong (`by_reach`: that fire on more).

    What no slot did, the change of the head did: it is shared out among the suspects that have no slot. If none does
    so much, the worst quarter of those that do any.
    """
    patch = bench.candidate.patch
    marks: Counter[str] = Counter()
    nobody = 0
    for images, labels in zip(probes.images.split(1024), probes.labels.split(1024), strict=True):
        features = batched_features(bench.candidate, images)
        after = bench.candidate.classify(features)
        activations = patch.activations(features)
        if by_reach:
            moved = (after.softmax(1) - bench.root.classify(features).softmax(1)).abs().amax(1)
            reached = moved > bench.params.gate.reach_tolerance
            push = activations[reached]
        else:
            classes = after.argmax(1)
            wrong = classes != labels
            push = activations[wrong] * (patch.value.T[classes[wrong]] - patch.value.T[labels[wrong]])
        strongest, slot = push.max(1)
        nobody += int((strongest <= 0).sum())
        marks.update(bench.slots[one] for one in slot[strongest > 0].tolist() if one in bench.slots)
    without_slot = set(suspects) - set(bench.slots.values())
    marks.update(dict.fromkeys(without_slot, nobody // max(len(without_slot), 1)))
    ranked = [(name, count) for name, count in marks.most_common() if name in suspects and count]
    chosen = [(name, count) for name, count in ranked if count > patience * len(probes.labels)]
    chosen = chosen or ranked[: -(-len(ranked) // 4)]
    deed = "changes" if by_reach else "turns wrong"
    return {name: f"it {deed} {count} of {len(probes.labels)} images that it is not about" for name, count in chosen}


def tested(bench: Workbench, probes: Probes, suspects: Sequence[str], patience: float) -> dict[str, str]:
    """Suspects without which the rest does little harm: found by editing again, with ever smaller groups left in."""
    settings = bench.params.deferral
    editor = build_editor(bench.params.edit, _views(bench.params), bench.params.seed, learned_rule(bench.learned))
    control = [torch.from_numpy(load_split(bench.splits, name).images) for name in ("reference", "calibration")]
    state = editor.prepare(bench.root, *control)
    constraints = {
        each.id: Constraint(bench.images[index], int(bench.expected[index]), each.id)
        for index, each in enumerate(bench.ledger.corrections)
    }
    old = [each for name, each in constraints.items() if name not in suspects and bench.holds.get(name, True)]

    def turned(group: Sequence[str]) -> float:
        """Share of the probes that editing for `old` and `group` turns wrong; infinite if one does not hold."""
        wanted = [*old, *(constraints[name] for name in group)]
        result = editor.edit(bench.root, wanted, state) if wanted else None
        if result and not result.success:
            return float("inf")
        model = result.model if result else bench.root
        return float((_classes(model, probes.images) != probes.labels).double().mean())

    before = turned(())
    kept, _ = keep_harmless(suspects, lambda group: turned(group) - before <= patience * len(group), settings.tests)
    return {name: "with it, too many images that it is not about turn wrong" for name in suspects if name not in kept}


def _views(params: Params) -> ViewSettings:
    return ViewSettings(**params.views.model_dump())


@torch.no_grad()
def _classes(model: EditableModel, images: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(1) for part in images.split(1024)])
