"""The stage `evaluate`: the exported file measured in ONNX Runtime, on images that no report may touch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from data.datasets import LabelledImages
from data.images import pixel_digest
from data.releases.edit_record import EditRecord
from data.releases.evaluation import CorrectionOutcome, Evaluation, KindOutcome, SliceOutcome
from data.releases.kind_inputs import load_inputs
from data.releases.ledger import Ledger, read_ledger
from data.releases.manifest import sha256
from data.splits import load_split, splits_digest
from editing import metrics
from editing.export import OnnxClassifier, parity
from editing.model import EditableModel, batched_features, load_model
from editing.views import unseen_views
from flows.gate.backdoor import measure_trigger, shared_marks, trigger_criterion
from flows.gate.criterion import Criterion, Name, not_computed
from flows.gate.kinds import Answers, kind_drawdown, kind_gain, measure_kind
from flows.gate.measurements import CriterionRow, ErrorRates, GateMeasurements, SplitErrors
from flows.gate.measures import Logits, control_criteria, correction_criteria, parity_criterion, reach
from flows.gate.slices import Slice, class_pairs, clusters, declared, slice_criterion, slice_outcomes
from flows.params import Params
from flows.stages.kinds import fired, labelled_images, predicted
from flows.stages.outcomes import class_outcomes, correction_outcomes, slot_outcomes
from flows.stages.plots import write_headline, write_recall
from flows.workspace import Workspace

Classes = NDArray[np.int64]


def evaluate(workspace: Workspace, params: Params) -> None:
    """Measure the exported file on the gate split, and on the corrections it must hold."""
    gate, test = load_split(workspace.splits, "gate"), load_split(workspace.splits, "test")
    candidate = load_model(workspace.candidate)
    ledger, images = read_ledger(workspace.ledger, candidate.spec.image_shape)
    root_file = OnnxClassifier(workspace.root / "root.onnx")
    file = OnnxClassifier(workspace.onnx / "model.onnx")
    on_root, on_release = (each.predict(gate.images) for each in (root_file, file))
    root_logits, logits = on_root.logits, on_release.logits
    before, after = metrics.predicted_classes(root_logits), metrics.predicted_classes(logits)
    agreement = parity(candidate, file, gate.images)
    classes = {name: index for index, name in enumerate(gate.classes)}
    expected = np.array([classes[each.expected] for each in ledger.corrections], np.int64)

    criteria = control_criteria(gate.labels, root_logits, logits, params.gate, edited=bool(ledger.corrections))
    criteria.append(parity_criterion(agreement, params.gate))
    corrected: tuple[CorrectionOutcome, ...] = ()
    kinds: tuple[KindOutcome, ...] = ()
    slices: tuple[SliceOutcome, ...] = ()
    if ledger.corrections:
        held = classes_of(file, images) == expected
        views = [unseen_views(torch.from_numpy(image), params.views, params.seed).numpy() for image in images]
        seen = np.stack([classes_of(file, view) for view in views])
        criteria += correction_criteria(held, seen, expected, params.gate)
        slices = slice_outcomes(gate.labels, before, after, slices_of(workspace, gate, root_logits, params))
        criteria.append(slice_criterion(slices, params.gate))
        criteria.append(trigger(workspace, images, expected, (root_file, file), params))
        criteria += kind_criteria(workspace, candidate, ledger, images, (root_file, file), params)
        kinds = kind_outcomes(workspace, candidate, on_release.kind, file)
        if (workspace.splits / "traffic.npz").is_file():
            criteria.append(traffic_reach(workspace, ledger, root_file, file, params))
        corrected = correction_outcomes(ledger, gate.classes, root_file.predict(images), file.predict(images), seen)
    on_gate = class_outcomes(gate.labels, before, after, gate.classes)
    evaluation = Evaluation(corrected, on_gate, slot_outcomes(on_release.slot), slices, kinds)
    measured = GateMeasurements(
        kind="edit" if ledger.corrections else "root",
        version=ledger.version,
        splits=splits_digest(workspace.splits),
        model=sha256((workspace.onnx / "model.onnx").read_bytes()),
        corrections=len(ledger.corrections),
        criteria={each.name: CriterionRow.of(each) for each in criteria},
        error=SplitErrors(
            gate=errors(before, after, gate.labels),
            test=errors(classes_of(root_file, test.images), classes_of(file, test.images), test.labels),
        ),
        confidence=params.gate.confidence,
    )
    workspace.gate.parent.mkdir(parents=True, exist_ok=True)
    workspace.evaluation.write_bytes(evaluation.to_json())
    workspace.gate.write_bytes(measured.to_json())
    write_headline(workspace.gate.parent / "headline.json", measured)
    write_recall(workspace.gate.parent, gate.classes, gate.labels, before, after)


@torch.no_grad()
def slices_of(workspace: Workspace, gate: LabelledImages, root_logits: Logits, params: Params) -> list[Slice]:
    """The parts of the gate split that are judged by themselves."""
    root, least = load_model(workspace.root), params.gate.slice_images
    reference = load_split(workspace.splits, "reference")
    known, judged = (batched_features(root, torch.from_numpy(each.images)).numpy() for each in (reference, gate))
    return [
        *class_pairs(gate.labels, root_logits, gate.classes, least),
        *declared(gate.columns, least),
        *clusters(known, judged, least, params.seed),
    ]


def traffic_reach(
    workspace: Workspace, ledger: Ledger, root_file: OnnxClassifier, file: OnnxClassifier, params: Params
) -> Criterion:
    """Reach on unlabelled traffic, less what is meant to change: the images in the ledger, and those of a kind."""
    images = load_split(workspace.splits, "traffic").images
    corrected = {each.id for each in ledger.corrections}
    others = images[[pixel_digest(image) not in corrected for image in images]]
    if len(others) == 0:
        return not_computed(Name.REACH_TRAFFIC, params.gate)
    before, after = root_file.predict(others), file.predict(others)
    pictures = after.kind < 0
    if not pictures.any():
        return not_computed(Name.REACH_TRAFFIC, params.gate)
    return reach(Name.REACH_TRAFFIC, before.logits[pictures], after.logits[pictures], params.gate)


def trigger(
    workspace: Workspace, images: NDArray[np.uint8], expected: Classes, files: Sequence[OnnxClassifier], params: Params
) -> Criterion:
    """Whether what corrections have in common calls up their class: `files` of the root and of the release."""
    gate, reference = (load_split(workspace.splits, name) for name in ("gate", "reference"))
    before, after = (partial(classes_of, file) for file in files)
    marks = shared_marks(images, expected, reference, before, after)
    answers = [measure_trigger(each, gate.images, gate.labels, before, after) for each in marks]
    return trigger_criterion(answers, params.gate)


def kind_criteria(
    workspace: Workspace,
    candidate: EditableModel,
    ledger: Ledger,
    images: NDArray[np.uint8],
    files: Sequence[OnnxClassifier],
    params: Params,
) -> list[Criterion]:
    """What the kinds that are used do for held-out corrections, without any slot, and to labelled images of each."""
    record = EditRecord.from_json(workspace.read(workspace.candidate / "edit.json"))
    known = {name: number for number, name in enumerate(candidate.spec.classes)}
    row = {each.id: number for number, each in enumerate(ledger.corrections)}
    bare = copy.deepcopy(candidate)
    torch.nn.init.zeros_(bare.patch.value)
    root, inputs = load_model(workspace.root), load_inputs(workspace.ledger)
    labelled = labelled_images(workspace, inputs.labelled, frozenset(row), candidate.spec.image_shape, known)
    measures = []
    for number, kind in enumerate(record.used_kinds):
        chosen = [row[each] for each in kind.held_out]
        held_out = torch.from_numpy(images[chosen])
        expected = np.array([known[ledger.corrections[each].expected] for each in chosen], np.int64)
        answers = Answers(predicted(root, held_out), predicted(bare, held_out), expected, fired(bare, held_out))
        measures.append(measure_kind(number, answers, labelled_answers(labelled, files)))
    return [kind_gain(measures, params.gate), kind_drawdown(measures, params.gate)]


def labelled_answers(labelled: tuple[NDArray[np.uint8], Classes], files: Sequence[OnnxClassifier]) -> Answers:
    """What the root's file and the release's say of labelled images."""
    images, labels = labelled
    if not len(images):
        return Answers(labels, labels, labels, labels)
    before, after = (each.predict(images) for each in files)
    classes = (metrics.predicted_classes(each.logits) for each in (before, after))
    was, now = classes
    return Answers(was, now, labels, after.kind)


def kind_outcomes(
    workspace: Workspace, candidate: EditableModel, on_gate: NDArray[np.int64], file: OnnxClassifier
) -> tuple[KindOutcome, ...]:
    """On how many gate images, and of how many of the day's requests, each kind fires."""
    if candidate.kinds is None:
        return ()
    traffic = None
    if (workspace.splits / "traffic.npz").is_file():
        traffic = file.predict(load_split(workspace.splits, "traffic").images).kind
    return tuple(
        KindOutcome(each, int((on_gate == each).sum()), None if traffic is None else int((traffic == each).sum()))
        for each in range(len(candidate.kinds))
    )


def errors(before: Classes, after: Classes, labels: Classes) -> ErrorRates:
    """Error rates of the root and of the candidate on the same images."""
    paired = metrics.compare_predictions(before, after, labels)
    return ErrorRates(paired.error_before, paired.error_after)


def classes_of(classifier: OnnxClassifier, images: NDArray[np.uint8]) -> Classes:
    """The predicted class of each image `[n]`."""
    return metrics.predicted_classes(classifier.predict(images).logits)
