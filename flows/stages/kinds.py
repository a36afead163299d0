"""Kinds in the stage `edit`: found among the corrections, each held against what the gate will ask, and used or not.

A kind that does not prove itself is left out: its corrections are pictures, each with a slot of its own, and the
release goes on without it. So are kinds that a person dissolved.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from errata.data.images import pixel_digest
from errata.data.releases.edit_record import ChangedAnswer, KindRecord
from errata.data.releases.kind_inputs import NEITHER, KindDecision
from errata.data.releases.ledger import Ledger, Pixels, read_ledger
from errata.editing.batches import at_once
from errata.editing.errors import DataError
from errata.editing.features import NOTHING_KEPT, Features
from errata.editing.kinds.find import Kind, KindFinder, with_kinds
from errata.editing.kinds.grouping import Regrouping
from errata.editing.model import EditableModel, batched_both
from errata.editing.types import Constraint
from errata.flows.gate.criterion import Criterion
from errata.flows.gate.kinds import (
    Classes,
    KindMeasure,
    PairedClasses,
    kind_drawdown,
    kind_gain,
    measure_kind,
    most_gain,
)
from errata.flows.params import GateParams, Params
from errata.flows.workspace import Workspace

DISSOLVED = "a person dissolved it"


@dataclass(frozen=True)
class Evidence:
    """What kinds are made of and judged by: corrections as constraints, labelled images uint8 `[n, h, w, c]` with their
    classes int64 `[n]` (-1: of neither class that a person was asked about), and decisions of people in their order.

    `traffic` uint8 `[m, h, w, c]`: the day's requests, about which people are asked, but for those `known` already
    (pixel digests).
    """

    constraints: Sequence[Constraint]
    images: Tensor
    labels: Classes
    decisions: tuple[KindDecision, ...] = ()
    traffic: Tensor | None = None
    known: frozenset[str] = frozenset()


def use_kinds(
    root: EditableModel,
    evidence: Evidence,
    reference: Tensor,
    calibration: Tensor,
    params: Params,
    features: Features = NOTHING_KEPT,
) -> tuple[EditableModel, tuple[KindRecord, ...]]:
    """The root with those kinds of the corrections that prove themselves, and what came of each that was found.

    One that is left out may have fired where another would have: so what is left is measured again, until all pass.
    """
    finder, gate = KindFinder(params.edit.kind, params.views, params.seed, features), params.gate
    state = finder.prepare(root, reference, calibration)
    found = finder.find(root, evidence.constraints, state, regroupings(evidence.decisions), partial(worth, gate))
    if not found:
        return root, ()
    judge = _Judge(root, evidence, finder, gate)
    left = [each for each in found if each.replaced]
    records = {each.fitted: judge.unmade(each, len(found)) for each in found if not each.replaced}
    asked: dict[tuple[str, ...], tuple[ChangedAnswer, ...]] = {}
    while left:
        model = with_kinds(root, left, state)
        judged = judge(model, left, len(found))
        if not asked:  # also of kinds that lack nothing but answers
            some = questions(judged, root, model, evidence, params)
            asked = {each.fitted: some for each, some in zip(left, some, strict=True)}
        records |= {each.fitted: record for each, record in zip(left, judged, strict=True)}
        if not any(record.why for record in judged):
            break
        left = [each for each, record in zip(left, judged, strict=True) if not record.why]
    numbers = {each.fitted: number for number, each in enumerate(left)}
    told = tuple(
        replace(records[each.fitted], kind=numbers.get(each.fitted, -1), questions=asked.get(each.fitted, ()))
        for each in found
    )
    return with_kinds(root, left, state) if left else root, told


class _Judge:
    """Holds kinds against the gate's criteria and people's decisions."""

    def __init__(self, root: EditableModel, evidence: Evidence, finder: KindFinder, gate: GateParams) -> None:
        self._evidence, self._gate = evidence, gate
        self._held_out = [each for each in evidence.constraints if finder.held_out(each.key)]
        self._corrected = (
            torch.stack([each.image for each in self._held_out]) if self._held_out else evidence.images[:0]
        )
        self._expected = np.array([each.expected for each in self._held_out], np.int64)
        self._before = [predicted(root, images) for images in (self._corrected, evidence.images)]

    def __call__(self, model: EditableModel, kinds: Sequence[Kind], count: int) -> list[KindRecord]:
        """A record of each of the `kinds` of `model`, of `count` that were found; `why` if it is not to be used."""
        answers = [
            PairedClasses(before, predicted(model, images), expected, fired(model, images))
            for before, images, expected in zip(
                self._before,
                (self._corrected, self._evidence.images),
                (self._expected, self._evidence.labels),
                strict=True,
            )
        ]
        in_force = frozenset(each.key for each in self._evidence.constraints)
        records = []
        for number, kind in enumerate(kinds):
            measure = measure_kind(number, *answers)
            gain = kind_gain([measure], self._gate, count)
            harm = kind_drawdown([measure], self._gate, count)
            theirs = tuple(each.key for each, one in zip(self._held_out, answers[0].kind, strict=True) if one == number)
            name, dissolved = self._decided(frozenset((*kind.fitted, *theirs)), in_force)
            records.append(
                KindRecord(
                    name=name or first_name(kind),
                    kind=number,
                    fitted=kind.fitted,
                    held_out=theirs,
                    mended=measure.mended,
                    gain_bound=gain.bound,
                    calibration_firing=kind.firing,
                    labelled=measure.inside.n if measure.inside else 0,
                    increase=harm.value,
                    increase_bound=harm.bound,
                    why=DISSOLVED if dissolved else refusal(measure, gain, harm),
                    concept=kind.concept,
                )
            )
        return records

    def unmade(self, kind: Kind, count: int) -> KindRecord:
        """The record of one of `count` kinds that was not worth a change."""
        in_force = frozenset(each.key for each in self._evidence.constraints)
        name, dissolved = self._decided(frozenset((*kind.fitted, *kind.held_out)), in_force)
        fires = len(kind.held_out)
        most = most_gain(fires, count, self._gate) if fires else 0.0
        return KindRecord(
            name=name or first_name(kind),
            kind=-1,
            fitted=kind.fitted,
            held_out=kind.held_out,
            mended=0,
            gain_bound=math.nan,
            calibration_firing=kind.firing,
            labelled=0,
            increase=math.nan,
            increase_bound=math.nan,
            why=DISSOLVED
            if dissolved
            else f"it fires on {fires} of {len(self._held_out)} held-out corrections; to mend all of them would prove "
            f"{most:.0%}, and {self._gate.kind_gain:.0%} is wanted",
            concept=kind.concept,
        )

    def _decided(self, corrections: frozenset[str], in_force: frozenset[str]) -> tuple[str, bool]:
        """The name that people last gave to a kind, empty if none, and whether they dissolved it."""
        name, dissolved = "", False
        for each in self._evidence.decisions:
            if each.about(corrections, in_force):
                if each.action in {"named", "merged"}:
                    name = each.name or name
                elif each.action in {"dissolved", "restored"}:
                    dissolved = each.action == "dissolved"
        return name, dissolved


def worth(gate: GateParams, held_out: int, kinds: int) -> bool:
    """Whether one of so many kinds, which fires on so many held-out corrections, can prove itself at all."""
    return held_out > 0 and most_gain(held_out, kinds, gate) >= gate.kind_gain


def first_name(kind: Kind) -> str:
    """What a kind is called until a person names it: its sort, and a digest of the corrections it was fitted to."""
    digest = hashlib.sha256(repr(kind.fitted).encode()).hexdigest()[:8]
    return f"{'concept' if kind.concept else 'kind'} {digest}"


def questions(
    judged: Sequence[KindRecord], root: EditableModel, model: EditableModel, evidence: Evidence, params: Params
) -> list[tuple[ChangedAnswer, ...]]:
    """What to ask a person about each of the kinds of `model`: a sample of what it changes in traffic.

    Kinds that a person dissolved, or that mend nothing for sure, are not worth one. Which images is decided by their
    digests alone.
    """
    if evidence.traffic is None or not len(evidence.traffic):
        return [()] * len(judged)
    kind = fired(model, evidence.traffic)
    mine = np.flatnonzero(kind >= 0)
    images, kind = evidence.traffic[torch.from_numpy(mine)], kind[mine]
    before, after = predicted(root, images), predicted(model, images)
    changed = {pixel_digest(images[row].numpy()): row for row in np.flatnonzero(before != after).tolist()}
    order = sorted(changed.keys() - evidence.known, key=lambda each: hashlib.sha256(f"asked {each}".encode()).digest())
    classes = root.spec.classes
    told = []
    for each in judged:
        worth = each.why != DISSOLVED and each.gain_bound >= params.gate.kind_gain
        chosen = [name for name in order if kind[changed[name]] == each.kind][: params.edit.kind.questions * worth]
        asked = (ChangedAnswer(name, classes[before[changed[name]]], classes[after[changed[name]]]) for name in chosen)
        told.append(tuple(asked))
    return told


def regroupings(decisions: Sequence[KindDecision]) -> tuple[Regrouping, ...]:
    """What people decided about which corrections belong together, in order."""
    return tuple(
        Regrouping(frozenset(each.members), frozenset(each.others))
        for each in decisions
        if each.action in {"merged", "split"}
    )


def refusal(measure: KindMeasure, gain: Criterion, harm: Criterion) -> str:
    """Why a kind is not used, in words; empty if it proves itself."""
    if gain.verdict != "pass":
        sure = "" if math.isnan(gain.bound) else f", which proves {gain.bound:.0%}; {gain.limit:.0%} is wanted"
        return f"it mends {measure.mended} of {measure.wrong} held-out corrections{sure}"
    if measure.inside is None:
        return (
            "no labelled image of it says what it does to others of its kind; `errata kinds ask` asks about some of "
            "the day's requests, and `errata label` says what others are"
        )
    if harm.verdict != "pass":
        return (
            f"on {harm.n} labelled images of it the error changes by {harm.value:+.1%}, at most {harm.bound:+.1%}; "
            f"{harm.limit:.1%} is the limit"
        )
    return ""


def predicted(model: EditableModel, images: Tensor) -> Classes:
    """The predicted class of each of uint8 images `[n, h, w, c]`: int64 `[n]`."""
    if not len(images):
        return np.empty(0, np.int64)
    return batched_both(model, images)[1].argmax(1).cpu().numpy()


@torch.no_grad()
def fired(model: EditableModel, images: Tensor) -> Classes:
    """The kind that fires on each of uint8 images `[n, h, w, c]`: int64 `[n]`, -1 where none does."""
    parts = images.split(at_once(images.shape[1:])) if len(images) else ()
    found = [model.see(part.to(model.mean.device)).kind for part in parts]
    known = [each.cpu().numpy() for each in found if each is not None]
    return np.concatenate(known) if known else np.full(len(images), -1, np.int64)


def labelled_images(
    workspace: Workspace,
    labelled: Ledger,
    corrected: frozenset[str],
    shape: tuple[int, int, int],
    classes: Mapping[str, int],
) -> tuple[Pixels, Classes]:
    """The labelled images uint8 `[n, *shape]` with their classes; less those `corrected`, for they may be fitted.

    The class is -1 for images of neither class that a person was asked about. Raises DataError if one is of no class of
    the model.
    """
    if not labelled.corrections:
        return np.empty((0, *shape), np.uint8), np.empty(0, np.int64)
    classes = {**classes, NEITHER: -1}
    if unknown := sorted({each.expected for each in labelled.corrections} - set(classes)):
        raise DataError(f"an image is labelled {unknown[0]!r}, which is no class of the model; label it again")
    _, images = read_ledger(workspace.labelled, shape)
    kept = [row for row, each in enumerate(labelled.corrections) if each.id not in corrected]
    return images[kept], np.array([classes[labelled.corrections[row].expected] for row in kept], np.int64)
