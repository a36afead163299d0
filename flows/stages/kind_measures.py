"""What the gate asks of kinds, and the record tells of them: measured on the exported file, and without any slot."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from errata.data.images import Pixels
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.evaluation import KindOutcome
from errata.data.releases.kind_inputs import load_inputs
from errata.data.releases.ledger import Ledger
from errata.editing.metrics import predicted_classes
from errata.editing.model import EditableModel, load_model
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.gate.criterion import Criterion
from errata.flows.gate.kinds import Classes, PairedClasses, kind_drawdown, kind_gain, measure_kind
from errata.flows.params import Params
from errata.flows.stages.kinds import fired, labelled_images, predicted
from errata.flows.workspace import Workspace


def kind_criteria(
    workspace: Workspace,
    candidate: EditableModel,
    ledger: Ledger,
    images: Pixels,
    files: Sequence[OnnxClassifier],
    params: Params,
) -> list[Criterion]:
    """What the kinds that are used do for held-out corrections, without any slot, and to labelled images of each.

    `images` are the ledger's, uint8 `[n, h, w, c]`; `files` those of the root and of the release.
    """
    used = EditRecord.from_json(workspace.read(workspace.candidate / "edit.json")).used_kinds
    if not used:
        return [kind_gain((), params.gate), kind_drawdown((), params.gate)]
    known = {name: number for number, name in enumerate(candidate.spec.classes)}
    row = {each.id: number for number, each in enumerate(ledger.corrections)}
    bare = copy.deepcopy(candidate)
    torch.nn.init.zeros_(bare.patch.value)
    root, inputs = load_model(workspace.root), load_inputs(workspace.ledger)
    labelled = labelled_images(workspace, inputs.labelled, frozenset(row), candidate.spec.image_shape, known)
    on_labelled = answers_of_files(*labelled, files)
    measures = []
    for number, kind in enumerate(used):
        chosen = [row[each] for each in kind.held_out]
        held_out = torch.from_numpy(images[chosen])
        expected = np.array([known[ledger.corrections[each].expected] for each in chosen], np.int64)
        answers = PairedClasses(predicted(root, held_out), predicted(bare, held_out), expected, fired(bare, held_out))
        measures.append(measure_kind(number, answers, on_labelled))
    return [kind_gain(measures, params.gate), kind_drawdown(measures, params.gate)]


def answers_of_files(images: Pixels, labels: Classes, files: Sequence[OnnxClassifier]) -> PairedClasses:
    """What the root's file and the release's say of labelled images `[n, h, w, c]`."""
    if not len(images):
        return PairedClasses(labels, labels, labels, labels)
    before, after = (each.predict(images) for each in files)
    return PairedClasses(predicted_classes(before.logits), predicted_classes(after.logits), labels, after.kind)


def kind_outcomes(candidate: EditableModel, on_gate: Classes, on_traffic: Classes | None) -> tuple[KindOutcome, ...]:
    """On how many gate images, and of how many of the day's requests, each kind fires: which one did, int64 `[n]`."""
    if candidate.kinds is None:
        return ()

    def times(kind: int, fired: Classes) -> int:
        return int((fired == kind).sum())

    return tuple(
        KindOutcome(each, times(each, on_gate), None if on_traffic is None else times(each, on_traffic))
        for each in range(len(candidate.kinds))
    )
