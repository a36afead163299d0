"""The stage `train`: the root model, trained or taken from given weights, and its graph, which no edit changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress as ProgressBar

from errata.data.datasets import LabelledImages
from errata.data.releases.manifest import sha256
from errata.data.releases.replay import with_replay
from errata.data.splits import load_split
from errata.editing.errors import DataError
from errata.editing.features import Features, entering
from errata.editing.model import EditableModel, ModelSpec, fit_patch, save_model
from errata.editing.networks.imagenet import PUBLISHED, imagenet_outputs, read_published
from errata.editing.onnx.export import export_onnx
from errata.editing.pretrained import load_weights
from errata.editing.rules import RuleRecord
from errata.editing.scopes import Scope
from errata.editing.tensors import tensor_of
from errata.editing.training.distillation import train_without_labels
from errata.editing.training.editable import train_editable
from errata.editing.training.plain import Epoch, Progress, TrainingRecord, predict, train
from errata.editing.training.processes import ALONE, Processes, joined
from errata.flows.params import ModelParams, Params, TrainParams
from errata.flows.stages.common import device
from errata.flows.stages.progress import open_teller
from errata.flows.stages.root_training import RootTraining, TrainingEffect
from errata.flows.workspace import Workspace


def train_root(workspace: Workspace, params: Params) -> None:
    """Train the root model on the train split, or take the weights that were given.

    Of several processes that torchrun started only the first writes.
    """
    split = load_split(workspace.splits, "train")
    height, width, channels = split.images.shape[1:]
    model = new_model(workspace, params, split.classes, (height, width, channels))
    with joined(device()) as processes:
        if params.model.weights:
            training = train_given(workspace, params, model, split, processes)
        else:
            images = with_replay(workspace.replay, split, workspace.splits.parent)
            training = train_anew(workspace, params, model, images, processes)
    if processes.rank:
        return
    fit_patch(model.eval(), tensor_of(split.images))
    save_model(model, workspace.root)
    export_onnx(model, workspace.root / "root.onnx", {})
    (workspace.root / "training.json").write_bytes(training.to_json())


def new_model(
    workspace: Workspace, params: Params, classes: tuple[str, ...], image_shape: tuple[int, int, int]
) -> EditableModel:
    """The network of params.yaml for images of `image_shape`, with the given weights or fresh ones.

    Raises ModelError or DataError where code, weights, classes and images do not fit.
    """
    spec = ModelSpec(
        architecture=params.model.architecture,
        classes=classes,
        image_shape=image_shape,
        mean=params.model.mean,
        std=params.model.std,
        arguments=params.model.arguments,
        slots=params.model.slots,
    )
    torch.manual_seed(params.seed)
    model = EditableModel.from_spec(spec)
    model.look_at(params.model.directions)
    if params.model.weights:
        adopt(workspace, params.model, model)
    return model.adapted(params.model.adapter) if params.model.adapter else model


def adopt(workspace: Workspace, params: ModelParams, model: EditableModel) -> None:
    """Put the given weights into `model`; their recorded digest is what ties the root to that very file."""
    if params.weights == PUBLISHED:
        name, content = read_published(params.architecture)
    else:
        path = workspace.folder / params.weights
        try:
            name, content = path.name, path.read_bytes()
        except OSError as error:
            raise DataError(f"params.yaml: model.weights: {path}: {error.strerror}") from error
    if (digest := sha256(content)) != params.weights_sha256:
        raise DataError(
            f"params.yaml: model.weights_sha256 must be the file's digest, {digest}; check and put it there"
        )
    by_name = params.weights == PUBLISHED and not params.outputs
    load_weights(model, content, name, imagenet_outputs(model.spec.classes) if by_name else params.outputs)


def train_given(
    workspace: Workspace, params: Params, model: EditableModel, split: LabelledImages, processes: Processes = ALONE
) -> RootTraining:
    """Given weights as they are, or trained further without labels, to be edited; what is kept in training.json.

    Every fifth image of the split is left out, to tell what it did to accuracy.
    """
    settings: dict[str, int | float | str | bool] = {"weights": params.model.weights_sha256}
    if params.train.method != "editable":
        return RootTraining(losses=(), settings=settings)
    seen = np.arange(len(split)) % 5 != 0
    images, labels = tensor_of(split.images), torch.from_numpy(split.labels)
    unseen = images[torch.from_numpy(~seen)], labels[torch.from_numpy(~seen)]
    place = device()
    model.eval().to(place)
    before = predict(model, unseen[0]).argmax(1)
    layer = entering(model, Scope(params.train.scope).resolve(model).cut)
    hidden = Features().of(model, images[torch.from_numpy(seen)], layer)
    chosen = params.train.model_copy(
        update={"epochs": params.train.editable_epochs, "learning_rate": params.train.given_rate, "clip": 1.0}
    )
    teller = open_teller(workspace, "train")

    def tell(epoch: Epoch) -> None:
        teller.tell("epoch", epoch.number, chosen.epochs, f"loss {epoch.loss:.4f}")

    record = train_without_labels(model, hidden, chosen, tell, seed=params.seed, processes=processes)
    after = predict(model.to("cpu"), unseen[0]).argmax(1)
    right_before, right_after = ((one == unseen[1]).float().mean().item() for one in (before, after))
    effect = TrainingEffect(len(before), right_before, right_after, (before != after).float().mean().item())
    Console(stderr=True, quiet=processes.rank > 0).print(str(effect), highlight=False)
    losses = tuple(epoch.loss for epoch in record.training.epochs)
    return RootTraining(losses, record.training.settings | settings, RuleRecord.of(record.rule), effect)


def train_anew(
    workspace: Workspace, params: Params, model: EditableModel, split: LabelledImages, processes: Processes = ALONE
) -> RootTraining:
    """Train `model` in place; what is kept in training.json."""
    teller = open_teller(workspace, "train")

    def tell(epoch: Epoch) -> None:
        bar.update(task, completed=epoch.number)
        teller.tell("epoch", epoch.number, params.train.epochs + more, f"loss {epoch.loss:.4f}")

    with ProgressBar(transient=True, console=Console(stderr=True), disable=processes.rank > 0) as bar:
        more = 0 if params.train.method == "plain" else params.train.editable_epochs
        task = bar.add_task("training the root model", total=params.train.epochs + more)
        record, rule = fit_root(
            model,
            tensor_of(split.images),
            torch.from_numpy(split.labels),
            params.train,
            params.seed,
            tell,
            processes,
        )
    return RootTraining(tuple(epoch.loss for epoch in record.epochs), record.settings, rule)


def fit_root(
    model: EditableModel,
    images: torch.Tensor,
    labels: torch.Tensor,
    params: TrainParams,
    seed: int,
    progress: Progress,
    processes: Processes = ALONE,
) -> tuple[TrainingRecord, RuleRecord | None]:
    """Train by the method of params.yaml; the record, and the update rule that Editable Training learned.

    Editable Training goes on where plain training ends: from scratch, a few hundred batches do not show its effect.
    """
    where = str(device())
    plain = train(model, images, labels, params, progress, seed=seed, device=where, processes=processes)
    if params.method == "plain":
        return plain, None
    record = train_editable(
        model,
        images,
        labels,
        params.model_copy(
            update={"epochs": params.editable_epochs, "learning_rate": params.learning_rate / 10, "clip": 1.0}
        ),
        lambda epoch: progress(replace(epoch, number=params.epochs + epoch.number)),
        seed=seed + 1,
        device=where,
        processes=processes,
    )
    whole = TrainingRecord(record.training.settings, plain.epochs + record.training.epochs)
    return whole, RuleRecord.of(record.rule)
