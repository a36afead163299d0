"""The commands that dvc.yaml runs: prepare, train, edit, export, evaluate. Each reads files and writes files, no more.

python -m flows.stages STAGE        in the folder that holds dvc.yaml and params.yaml
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress as ProgressBar

from data.datasets import LabelledImages, load_dataset
from data.images import pixel_digest
from data.manifest import sha256
from data.splits import load_split, make_splits, save_splits, splits_digest
from editing import metrics
from editing.adoption import load_weights
from editing.devices import choose_device
from editing.editable_training import EditableSettings, train_editable
from editing.errors import DataError, ErrataError
from editing.export import METADATA_PREFIX, OnnxClassifier, export_onnx, parity, with_weights
from editing.model import EditableModel, ModelSpec, fit_patch, load_model, save_model
from editing.scopes import Scope
from editing.training import Progress, TrainingRecord, TrainingSettings, train
from editing.types import Constraint
from editing.views import unseen_views
from flows.criteria import control_criteria, correction_criteria, parity_criterion, reach
from flows.editor import build_editor, describe_rule, learned_rule, view_settings
from flows.findings import CorrectionFinding, Findings, class_findings, correction_findings, decided_by_slot
from flows.gate import Criterion, Name, not_computed
from flows.ledger import Ledger, read_ledger
from flows.lessons import with_lessons
from flows.params import Params, TrainParams
from flows.plots import write_headline, write_recall
from flows.triggers import ask, shared_patterns, trigger_criterion
from flows.workspace import Workspace, tree_digest

Classes = NDArray[np.int64]
DEVICE = "ERRATA_DEVICE"  # what differs between machines is in the environment


def write_json(path: Path, content: object) -> None:
    """Canonical JSON: same content, same bytes. NaN and infinity become null, which no criterion passes."""
    finite = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(finite, sort_keys=True, indent=1) + "\n")


def device() -> torch.device:
    """Where to compute: ERRATA_DEVICE, by default a GPU if there is one."""
    return choose_device(os.environ.get(DEVICE, "auto"))


def load_plugins(modules: Sequence[str]) -> None:
    """Import the modules that register architectures; raises DataError if one cannot be imported."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DataError(f"params.yaml: model.plugins: {name!r} cannot be imported here: {error}") from error


def prepare(workspace: Workspace, params: Params) -> None:
    """Split the data set into disjoint parts."""
    root = Path(params.data.root) if params.data.root else None
    dataset = load_dataset(params.data.dataset, root, image_shape=params.data.image_shape)
    if params.data.classes:
        dataset = dataset.ordered(params.data.classes)
    save_splits(make_splits(dataset, params.data.splits, params.seed), workspace.splits)


def train_root(workspace: Workspace, params: Params) -> None:
    """Train the root model on the train split, or take the weights that were given."""
    split = load_split(workspace.splits, "train")
    height, width, channels = split.images.shape[1:]
    spec = ModelSpec(
        architecture=params.model.architecture,
        classes=split.classes,
        image_shape=(height, width, channels),
        mean=params.model.mean,
        std=params.model.std,
        arguments=params.model.arguments,
        slots=params.model.slots,
    )
    torch.manual_seed(params.seed)
    model = EditableModel.from_spec(spec)
    if params.model.weights:
        adopt(workspace, params, model)
        training: dict[str, Any] = {"losses": [], "settings": {"weights": params.model.weights_sha256}, "rule": {}}
    else:
        training = train_anew(params, model, with_lessons(workspace, split))
    fit_patch(model.eval(), torch.from_numpy(split.images))
    save_model(model, workspace.root)
    export_onnx(model, workspace.root / "root.onnx", {})
    write_json(workspace.root / "training.json", training)


def adopt(workspace: Workspace, params: Params, model: EditableModel) -> None:
    """Put the given weights into `model`; their recorded digest is what ties the root to that very file."""
    path = workspace.folder / params.model.weights
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"params.yaml: model.weights: {path}: {error.strerror}") from error
    if (digest := sha256(content)) != params.model.weights_sha256:
        raise DataError(
            f"params.yaml: model.weights_sha256 must be the file's digest, {digest}; check and put it there"
        )
    load_weights(model, content, path.name)


def train_anew(params: Params, model: EditableModel, split: LabelledImages) -> dict[str, Any]:
    """Train `model` in place; what is kept in training.json."""
    chosen = params.train.model_dump(include={"epochs", "batch", "learning_rate", "shift", "flip"})
    settings = TrainingSettings(seed=params.seed, device=str(device()), **chosen)
    with ProgressBar(transient=True, console=Console(stderr=True)) as bar:
        more = 0 if params.train.method == "plain" else params.train.editable_epochs
        task = bar.add_task("training the root model", total=settings.epochs + more)
        record, rule = fit_root(
            model,
            torch.from_numpy(split.images),
            torch.from_numpy(split.labels),
            params.train,
            settings,
            lambda epoch: bar.update(task, completed=epoch.number),
        )
    losses = [epoch.loss for epoch in record.epochs]
    return {"losses": losses, "settings": record.settings, "rule": rule}


def fit_root(
    model: EditableModel,
    images: torch.Tensor,
    labels: torch.Tensor,
    params: TrainParams,
    settings: TrainingSettings,
    progress: Progress,
) -> tuple[TrainingRecord, dict[str, Any]]:
    """Train by the method of params.yaml; the record, and the update rule that Editable Training learned.

    Editable Training goes on where plain training ends: from scratch, a few hundred batches do not show its effect.
    """
    plain = train(model, images, labels, settings, progress)
    if params.method == "plain":
        return plain, {}
    editable = EditableSettings(
        scope=Scope(params.scope), edit_weight=params.edit_weight, locality_weight=params.locality_weight
    )
    then = replace(
        settings,
        epochs=params.editable_epochs,
        learning_rate=settings.learning_rate / 10,
        clip=1.0,
        seed=settings.seed + 1,
    )
    record = train_editable(
        model,
        images,
        labels,
        then,
        editable,
        lambda epoch: progress(replace(epoch, number=settings.epochs + epoch.number)),
    )
    whole = TrainingRecord(record.training.settings, plain.epochs + record.training.epochs)
    return whole, describe_rule(record.rule)


def edit(workspace: Workspace, params: Params) -> None:
    """Solve the whole ledger from the root."""
    root = load_model(workspace.root)
    ledger, images = read_ledger(workspace.ledger, root.spec.image_shape)
    classes = {name: index for index, name in enumerate(root.spec.classes)}
    constraints = [
        Constraint(torch.from_numpy(image), classes[correction.expected], correction.id)
        for image, correction in zip(images, ledger.corrections, strict=True)
    ]
    report: dict[str, Any] = {"success": True, "steps": 0, "reason": "", "holds": {}, "slots": []}
    model = root
    if constraints:
        editor = build_editor(params.edit, view_settings(params), params.seed, learned_rule(workspace.root))
        control = {
            name: torch.from_numpy(load_split(workspace.splits, name).images) for name in ("reference", "calibration")
        }
        root.to(device())
        result = editor.edit(root, constraints, editor.prepare(root, control["reference"], control["calibration"]))
        model = result.model.to("cpu")
        report = {
            "success": result.success,
            "steps": result.steps,
            "reason": result.reason,
            "holds": {each.key: held for each, held in zip(constraints, result.holds, strict=True)},
            "slots": [vars(slot) for slot in result.slots],
        }
    save_model(model, workspace.candidate)
    write_json(workspace.candidate / "edit.json", report)


def export(workspace: Workspace, params: Params) -> None:
    """Write the file that ships: the root's graph, the candidate's weights."""
    root, candidate = load_model(workspace.root), load_model(workspace.candidate)
    ledger, _ = read_ledger(workspace.ledger, root.spec.image_shape)
    metadata = {
        "version": str(ledger.version),
        "root": tree_digest(workspace.root),
        "ledger": ledger.digest,
        "drawdown_bound": str(params.gate.drawdown),
        "classes": json.dumps(root.spec.classes),
        "preprocessing": "none: uint8 images [batch, height, width, channels]; normalisation is inside the graph",
    }
    workspace.onnx.mkdir(parents=True, exist_ok=True)
    named = {f"{METADATA_PREFIX}{key}": value for key, value in metadata.items()}
    content = with_weights(workspace.root / "root.onnx", candidate, named)
    (workspace.onnx / "model.onnx").write_bytes(content)


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
    corrected: tuple[CorrectionFinding, ...] = ()
    if ledger.corrections:
        held = classes_of(file, images) == expected
        settings = view_settings(params)
        views = [unseen_views(torch.from_numpy(image), settings, params.seed).numpy() for image in images]
        seen = np.stack([classes_of(file, view) for view in views])
        criteria += correction_criteria(held, seen, expected, params.gate)
        criteria.append(trigger(workspace, images, expected, (root_file, file), params))
        if (workspace.splits / "traffic.npz").is_file():
            criteria.append(traffic_reach(workspace, ledger, root_file, file, params))
        corrected = correction_findings(ledger, gate.classes, root_file.predict(images), file.predict(images), seen)
    on_gate = class_findings(gate.labels, before, after, gate.classes)
    findings = Findings(corrected, on_gate, decided_by_slot(on_release.correction))
    write_json(workspace.findings, findings.to_json())
    error = {
        "gate": errors(before, after, gate.labels),
        "test": errors(classes_of(root_file, test.images), classes_of(file, test.images), test.labels),
    }
    write_json(
        workspace.gate,
        {
            "kind": "edit" if ledger.corrections else "root",
            "version": ledger.version,
            "splits": splits_digest(workspace.splits),
            "model": sha256((workspace.onnx / "model.onnx").read_bytes()),
            "corrections": len(ledger.corrections),
            "criteria": {each.name: each.to_row() for each in criteria},
            "error": error,
        },
    )
    write_headline(workspace.gate.parent / "headline.json", criteria, error)
    write_recall(workspace.gate.parent, gate.classes, gate.labels, before, after)


def traffic_reach(
    workspace: Workspace, ledger: Ledger, root_file: OnnxClassifier, file: OnnxClassifier, params: Params
) -> Criterion:
    """Reach on unlabelled traffic, less the images in the ledger: those are meant to change."""
    images = load_split(workspace.splits, "traffic").images
    corrected = {each.id for each in ledger.corrections}
    others = images[[pixel_digest(image) not in corrected for image in images]]
    if len(others) == 0:
        return not_computed(Name.REACH_TRAFFIC, params.gate)
    return reach(Name.REACH_TRAFFIC, root_file.predict(others).logits, file.predict(others).logits, params.gate)


def trigger(
    workspace: Workspace, images: NDArray[np.uint8], expected: Classes, files: Sequence[OnnxClassifier], params: Params
) -> Criterion:
    """Whether what corrections have in common calls up their class: `files` of the root and of the release."""
    gate = load_split(workspace.splits, "gate")
    centre = load_split(workspace.splits, "reference").images.mean(axis=0)
    before, after = (partial(classes_of, file) for file in files)
    groups = shared_patterns(images, expected, centre)
    answers = [ask(each, gate.images, gate.labels, before, after) for each in groups]
    return trigger_criterion(answers, len(images), params.gate)


def errors(before: Classes, after: Classes, labels: Classes) -> dict[str, float]:
    """Error rates of the root and of the candidate on the same images."""
    paired = metrics.compare_predictions(before, after, labels)
    return {"before": paired.error_before, "after": paired.error_after}


def classes_of(classifier: OnnxClassifier, images: NDArray[np.uint8]) -> Classes:
    """The predicted class of each image `[n]`."""
    return metrics.predicted_classes(classifier.predict(images).logits)


STAGES: dict[str, Callable[[Workspace, Params], None]] = {
    "prepare": prepare,
    "train": train_root,
    "edit": edit,
    "export": export,
    "evaluate": evaluate,
}


def main(arguments: list[str]) -> int:
    """Run one stage here; a fault is one readable line and exit code 1."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python -m flows.stages {{{','.join(STAGES)}}}", file=sys.stderr)
        return 2
    try:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA refuses to be deterministic
        torch.use_deterministic_algorithms(True)
        workspace = Workspace(Path())
        params = workspace.params
        load_plugins(params.model.plugins)
        STAGES[arguments[0]](workspace, params)
    except ErrataError as fault:
        print(f"Error: {arguments[0]}: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
