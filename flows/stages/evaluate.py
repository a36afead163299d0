"""The stage `evaluate`: the exported file measured in ONNX Runtime, on images that no report may touch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from errata.data.datasets import LabelledImages
from errata.data.images import Pixels, pixel_digest
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.evaluation import CorrectionOutcome, Evaluation, KindOutcome, SliceOutcome
from errata.data.releases.ledger import Ledger, read_ledger
from errata.data.releases.manifest import sha256
from errata.data.splits import load_split, splits_digest
from errata.editing import metrics
from errata.editing.export import OnnxClassifier, Predictions, parity
from errata.editing.features import Features
from errata.editing.model import EditableModel, load_model
from errata.editing.shortcut import Classifier, shortcut
from errata.editing.tensors import tensor_of
from errata.flows.gate.backdoor import measure_trigger, shared_marks, trigger_criterion
from errata.flows.gate.criterion import Criterion, Name, not_computed, rampant
from errata.flows.gate.measurements import CriterionRow, ErrorRates, GateMeasurements, SplitErrors
from errata.flows.gate.measures import Logits, control_criteria, correction_criteria, parity_criterion, reach
from errata.flows.gate.slices import Slice, class_pairs, clusters, declared, slice_criterion, slice_outcomes
from errata.flows.params import Params
from errata.flows.stages.answers import Answers, drawn, held_against_the_file
from errata.flows.stages.common import open_features
from errata.flows.stages.editors import calibrates
from errata.flows.stages.kind_measures import kind_criteria, kind_outcomes
from errata.flows.stages.outcomes import class_outcomes, correction_outcomes, flips, slot_outcomes
from errata.flows.stages.plots import write_headline, write_recall
from errata.flows.workspace import Workspace

Classes = NDArray[np.int64]


def evaluate(workspace: Workspace, params: Params) -> None:
    """Measure the exported file on the gate split, and on the corrections it must hold."""
    gate, test = load_split(workspace.splits, "gate"), load_split(workspace.splits, "test")
    root = load_model(workspace.root)
    ledger, images = read_ledger(workspace.ledger, root.spec.image_shape)
    features = open_features(workspace, root)
    candidate = load_model(workspace.candidate)
    files = workspace.root / "root.onnx", workspace.onnx / "model.onnx"
    digest = sha256(files[1].read_bytes())
    root_answers, answers = (Answers(OnnxClassifier(path), shortcut(path, root, features)) for path in files)
    on_root, on_release = (each.predict(gate.images) for each in (root_answers, answers))
    root_logits, logits = on_root.logits, on_release.logits
    before, after = metrics.predicted_classes(root_logits), metrics.predicted_classes(logits)
    if answers.shortcut:
        checked = np.concatenate([drawn(gate.images, digest), images]) if ledger.corrections else gate.images
        agreement = held_against_the_file((root_answers, answers), checked)
    else:
        agreement = parity(candidate, answers.file, gate.images)
    criteria = control_criteria(gate.labels, root_logits, logits, params.gate, edited=bool(ledger.corrections))
    criteria.append(parity_criterion(agreement, params.gate))
    corrected: tuple[CorrectionOutcome, ...] = ()
    kinds: tuple[KindOutcome, ...] = ()
    slices: tuple[SliceOutcome, ...] = ()
    if ledger.corrections:
        classes = {name: index for index, name in enumerate(gate.classes)}
        expected = np.array([classes[each.expected] for each in ledger.corrections], np.int64)
        was, now = (each.file.predict(images) for each in (root_answers, answers))
        held = metrics.predicted_classes(now.logits) == expected
        views = answers.predict_views(images, params.views, params.seed)
        seen = metrics.predicted_classes(views.logits).reshape(len(images), -1)
        criteria += promises(workspace, ledger, held, seen, expected, params)
        parts = slices_of(workspace, root, features, gate, root_logits, params)
        slices = slice_outcomes(gate.labels, before, after, parts)
        criteria.append(slice_criterion(slices, params.gate))
        criteria.append(trigger(workspace, images, expected, (root_answers.file, answers.file), params, criteria))
        criteria += kind_criteria(workspace, candidate, ledger, images, (root_answers.file, answers.file), params)
        on_traffic = None
        if (workspace.splits / "traffic.npz").is_file():
            traffic = load_split(workspace.splits, "traffic").images
            asked, on_traffic = (each.predict(traffic) for each in (root_answers, answers))
            criteria.append(traffic_reach(traffic, ledger, asked, on_traffic, params))
        kinds = kind_outcomes(candidate, on_release, on_traffic)
        corrected = correction_outcomes(ledger, gate.classes, was, now, seen)
    on_gate = class_outcomes(gate.labels, before, after, gate.classes)
    root_on_test, on_test = (each.predict(test.images) for each in (root_answers, answers))
    beside = flips(test.labels, root_on_test, on_test, test.classes) if ledger.corrections else None
    evaluation = Evaluation(corrected, on_gate, slot_outcomes(on_release.slot), slices, kinds, beside)
    measured = GateMeasurements(
        kind="edit" if ledger.corrections else "root",
        version=ledger.version,
        splits=splits_digest(workspace.splits),
        model=digest,
        corrections=len(ledger.corrections),
        criteria={each.name: CriterionRow.of(each) for each in criteria},
        error=SplitErrors(
            gate=errors(before, after, gate.labels),
            test=errors(
                metrics.predicted_classes(root_on_test.logits), metrics.predicted_classes(on_test.logits), test.labels
            ),
        ),
        confidence=params.gate.confidence,
    )
    write(workspace, measured, evaluation)
    write_recall(workspace.gate.parent, gate.classes, gate.labels, before, after)


def write(workspace: Workspace, measured: GateMeasurements, evaluation: Evaluation) -> None:
    """What the gate judges, what people look at, and the few numbers that DVC compares."""
    workspace.gate.parent.mkdir(parents=True, exist_ok=True)
    workspace.evaluation.write_bytes(evaluation.to_json())
    workspace.gate.write_bytes(measured.to_json())
    write_headline(workspace.gate.parent / "headline.json", measured)


def promises(
    workspace: Workspace, ledger: Ledger, held: NDArray[np.bool_], seen: Classes, expected: Classes, params: Params
) -> list[Criterion]:
    """Whether the corrections of the ledger that the editor has not deferred hold, and their unseen views."""
    deferred = EditRecord.from_json(workspace.read(workspace.candidate / "edit.json")).deferred
    kept = np.array([each.id not in deferred for each in ledger.corrections])
    return correction_criteria(held[kept], seen[kept], expected[kept], params.gate)


def slices_of(
    workspace: Workspace, root: EditableModel, features: Features, gate: LabelledImages, logits: Logits, params: Params
) -> list[Slice]:
    """The parts of the gate split that are judged by themselves; `logits` are the root's on it."""
    least, reference = params.gate.slice_images, load_split(workspace.splits, "reference")
    known, judged = (features.of(root, tensor_of(each.images)).numpy() for each in (reference, gate))
    return [
        *class_pairs(gate.labels, logits, gate.classes, least),
        *declared(gate.columns, least),
        *clusters(known, judged, least, params.seed),
    ]


def traffic_reach(images: Pixels, ledger: Ledger, was: Predictions, now: Predictions, params: Params) -> Criterion:
    """Reach on unlabelled traffic, less what is meant to change: the images in the ledger, and those of a kind.

    On the half of it that has not calibrated thresholds.
    """
    corrected = {each.id for each in ledger.corrections}
    others = [not calibrates(image) and pixel_digest(image) not in corrected for image in images]
    pictures = np.array(others) & (now.kind < 0)
    if not pictures.any():
        return not_computed(Name.REACH_TRAFFIC, params.gate)
    return reach(Name.REACH_TRAFFIC, was.logits[pictures], now.logits[pictures], params.gate)


def trigger(
    workspace: Workspace,
    images: Pixels,
    expected: Classes,
    files: Sequence[OnnxClassifier],
    params: Params,
    others: Sequence[Criterion],
) -> Criterion:
    """Whether what corrections have in common calls up their class: `files` of the root and of the release.

    `others` are the criteria that were measured before: where all kinds of control images break, it is not asked.
    """
    if rampant(others):
        return not_computed(Name.TRIGGER, params.gate)
    gate, reference = (load_split(workspace.splits, name) for name in ("gate", "reference"))
    before, after = (partial(classes_of, file) for file in files)
    marks = shared_marks(images, expected, reference, before, after)
    limit = params.gate.trigger
    answers = [measure_trigger(each, gate.images, gate.labels, before, after, limit) for each in marks]
    return trigger_criterion(answers, params.gate)


def errors(before: Classes, after: Classes, labels: Classes) -> ErrorRates:
    """Error rates of the root and of the candidate on the same images."""
    paired = metrics.compare_predictions(before, after, labels)
    return ErrorRates(paired.error_before, paired.error_after)


def classes_of(classifier: Classifier, images: Pixels) -> Classes:
    """The predicted class of each image `[n]`."""
    return metrics.predicted_classes(classifier.predict(images).logits)
