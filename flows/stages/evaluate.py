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
from errata.editing.batches import spread
from errata.editing.features import Features
from errata.editing.model import EditableModel, load_model
from errata.editing.onnx.export import OnnxClassifier, parity
from errata.editing.tensors import tensor_of
from errata.flows.gate.backdoor import measure_trigger, shared_marks, trigger_criterion
from errata.flows.gate.criterion import Criterion, Name, not_computed, rampant
from errata.flows.gate.measurements import CriterionRow, ErrorRates, GateMeasurements, SplitErrors
from errata.flows.gate.measures import control_criteria, correction_criteria, parity_criterion, reach
from errata.flows.gate.paired import Classes, classes_of
from errata.flows.gate.slices import (
    MOST_REFERENCE,
    Clusters,
    Slice,
    class_pairs,
    cluster_slices,
    declared,
    find_clusters,
    slice_criterion,
    slice_outcomes,
)
from errata.flows.params import Params
from errata.flows.stages.answers import OnImages, RootAndRelease, drawn, held_against_the_file, open_answers
from errata.flows.stages.common import open_features
from errata.flows.stages.editors import calibrates
from errata.flows.stages.kind_measures import kind_criteria, kind_outcomes
from errata.flows.stages.outcomes import class_outcomes, correction_outcomes, flips, slot_outcomes
from errata.flows.stages.plots import write_headline, write_recall
from errata.flows.workspace import Workspace


def evaluate(workspace: Workspace, params: Params) -> None:
    """Measure the exported file on the gate split, and on the corrections it must hold."""
    gate, test = load_split(workspace.splits, "gate"), load_split(workspace.splits, "test")
    root = load_model(workspace.root)
    ledger, images = read_ledger(workspace.ledger, root.spec.image_shape)
    features = open_features(workspace, root, "evaluate")
    candidate = load_model(workspace.candidate)
    files = workspace.root / "root.onnx", workspace.onnx / "model.onnx"
    digest = sha256(files[1].read_bytes())
    root_answers, answers = (open_answers(path, root, features) for path in files)
    both = RootAndRelease(root_answers, answers, root, features)
    groups = clusters_for(workspace, root, features, len(gate), params) if ledger.corrections else None
    on_gate = both.on(gate.images, groups.nearest if groups else None)
    before, after = on_gate.paired.before, on_gate.paired.after
    checked = np.concatenate([drawn(gate.images, digest), images]) if ledger.corrections else gate.images
    agreement = (
        held_against_the_file((root_answers, answers), checked)
        if answers.shortcut
        else parity(candidate, answers.file, gate.images)
    )
    criteria = control_criteria(
        gate.labels, on_gate.paired, len(gate.classes), params.gate, edited=bool(ledger.corrections)
    )
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
        parts = slices_of(gate, on_gate, params)
        slices = slice_outcomes(gate.labels, before, after, parts)
        criteria.append(slice_criterion(slices, params.gate))
        criteria.append(trigger(workspace, images, expected, (root_answers.file, answers.file), params, criteria))
        criteria += kind_criteria(workspace, candidate, ledger, images, (root_answers.file, answers.file), params)
        on_traffic = None
        if (workspace.splits / "traffic.npz").is_file():
            traffic = load_split(workspace.splits, "traffic").images
            on_traffic = both.on(traffic)
            criteria.append(traffic_reach(traffic, ledger, on_traffic, params))
        kinds = kind_outcomes(candidate, on_gate.kind, None if on_traffic is None else on_traffic.kind)
        corrected = correction_outcomes(ledger, gate.classes, was, now, seen)
    on_test = both.on(test.images)
    beside = (
        flips(test.labels, on_test.paired.before, on_test.paired.after, on_test, test.classes)
        if ledger.corrections
        else None
    )
    on_classes = class_outcomes(gate.labels, before, after, gate.classes)
    evaluation = Evaluation(corrected, on_classes, slot_outcomes(on_gate.slot), slices, kinds, beside)
    measured = GateMeasurements(
        kind="edit" if ledger.corrections else "root",
        version=ledger.version,
        splits=splits_digest(workspace.splits),
        model=digest,
        corrections=len(ledger.corrections),
        criteria={each.name: CriterionRow.of(each) for each in criteria},
        error=SplitErrors(
            gate=errors(before, after, gate.labels),
            test=errors(on_test.paired.before, on_test.paired.after, test.labels),
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


def clusters_for(
    workspace: Workspace, root: EditableModel, features: Features, images: int, params: Params
) -> Clusters | None:
    """Clusters of the root's features for so many gate `images`, found on the reference split, or a sample of it."""
    reference = load_split(workspace.splits, "reference").images
    sample = spread(len(reference), reference.shape[1:], MOST_REFERENCE)
    known = np.concatenate([features.of(root, tensor_of(reference[part])).cpu().numpy() for part in sample])
    return find_clusters(known, images, params.gate.slice_images, params.seed)


def slices_of(gate: LabelledImages, on_gate: OnImages, params: Params) -> list[Slice]:
    """The parts of the gate split that are judged by themselves."""
    least = params.gate.slice_images
    return [
        *class_pairs(gate.labels, on_gate.paired, gate.classes, least),
        *declared(gate.columns, least),
        *cluster_slices(on_gate.cluster, least),
    ]


def traffic_reach(images: Pixels, ledger: Ledger, on_traffic: OnImages, params: Params) -> Criterion:
    """Reach on unlabelled traffic, less what is meant to change: the images in the ledger, and those of a kind.

    On the half of it that has not calibrated thresholds.
    """
    corrected = {each.id for each in ledger.corrections}
    others = [not calibrates(image) and pixel_digest(image) not in corrected for image in images]
    pictures = np.array(others) & (on_traffic.kind < 0)
    return reach(Name.REACH_TRAFFIC, on_traffic.paired.moved[pictures], params.gate)


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
