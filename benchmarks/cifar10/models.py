"""The benchmark's models, trained where they are missing and kept in a folder each.

A training can be stopped after any epoch and is taken up there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from benchmarks.cifar10.data import CLASSES, MEAN, STD, Cifar10
from errata.editing.model import EditableModel, ModelSpec, load_model, save_model
from errata.editing.rules import RMSProp, Rule
from errata.editing.settings import EditableSettings, TrainingSettings
from errata.editing.studies.cnp import ConditionNetwork, conditioned, train_conditional
from errata.editing.training.editable import train_editable
from errata.editing.training.plain import Epoch, predict, train

SLOTS = 1024


def plain_settings(width: int, device: str) -> TrainingSettings:
    """15 epochs reach the accuracy at which edits of a narrow network are worth studying; 30 where there is a GPU."""
    epochs = 30 if device.startswith("cuda") else 15 if width <= 16 else 6
    return TrainingSettings(epochs=epochs, batch=128, learning_rate=0.2, shift=4, flip=True, precision="bfloat16")


def fresh_model(width: int, seed: int = 0) -> EditableModel:
    """An untrained ResNet-18 of that width for CIFAR-10."""
    torch.manual_seed(seed)
    arguments: dict[str, int | float | str | bool] = {"width": width, "blocks": 2}
    return EditableModel.from_spec(ModelSpec("resnet", CLASSES, (32, 32, 3), MEAN, STD, arguments, SLOTS))


def plain_model(folder: Path, width: int, data: Cifar10, device: str = "cpu") -> EditableModel:
    """The plainly trained model of `folder`, trained first if it is not there."""

    def make(progress: Callable[[Epoch], None]) -> EditableModel:
        model = fresh_model(width)
        settings = plain_settings(width, device)
        images, labels = data.train.images, data.train.labels
        train(model, images, labels, settings, progress, device=device, resume=folder / "training.pt")
        return model

    return kept(folder, data, make)


def tuned_settings(width: int, device: str, edit: float, locality: float) -> EditableSettings:
    """Editable Training starts from the plain model: a twentieth of the plain training's rate, few epochs, seed 1.

    The gradient through the edit is spiky: clipped at a norm of 10 instead of 1 it ruins the model.
    """
    epochs = 20 if device.startswith("cuda") else 2
    return EditableSettings(
        **plain_settings(width, device).model_dump(exclude={"epochs", "learning_rate", "clip"}),
        epochs=epochs,
        learning_rate=0.01,
        clip=1.0,
        edit_weight=edit,
        locality_weight=locality,
    )


def editable_model(
    folder: Path, plain: EditableModel, edit: float, locality: float, data: Cifar10, device: str = "cpu"
) -> tuple[EditableModel, Rule]:
    """The model fine-tuned by Editable Training (RMSProp, chain 3; weights c_edit, c_loc), and the learned rule."""

    def make(progress: Callable[[Epoch], None]) -> EditableModel:
        model = copy.deepcopy(plain)
        settings = tuned_settings(_width(plain), device, edit, locality)
        images, labels = data.train.images, data.train.labels
        resume = folder / "training.pt"
        record = train_editable(model, images, labels, settings, progress, seed=1, device=device, resume=resume)
        (folder / "rule.json").write_text(json.dumps(asdict(cast(RMSProp, record.rule))) + "\n")
        return model

    model = kept(folder, data, make)
    return model, RMSProp(**json.loads((folder / "rule.json").read_text()))


def conditional_model(
    folder: Path, plain: EditableModel, data: Cifar10, device: str = "cpu"
) -> tuple[EditableModel, ConditionNetwork]:
    """The conditioned model fine-tuned with the network that edits it (Editable + CNP)."""

    def make(progress: Callable[[Epoch], None]) -> EditableModel:
        model = conditioned(plain)
        settings = tuned_settings(_width(plain), device, 0.1, 0.1)
        images, labels = data.train.images, data.train.labels
        resume = folder / "training.pt"
        network, _ = train_conditional(model, images, labels, settings, progress, seed=1, device=device, resume=resume)
        torch.save(network.state_dict(), folder / "network.pt")
        return model

    model = kept(folder, data, make)
    network = ConditionNetwork.of(model)
    network.load_state_dict(torch.load(folder / "network.pt", weights_only=True))
    return model, network


def _width(model: EditableModel) -> int:
    return int(model.spec.arguments["width"])


def kept(folder: Path, data: Cifar10, make: Callable[[Callable[[Epoch], None]], EditableModel]) -> EditableModel:
    """The model saved in `folder`, or what `make(progress)` returns, saved with its record."""
    if (folder / "model.json").exists():
        return load_model(folder)
    epochs: list[Epoch] = []

    def progress(epoch: Epoch) -> None:
        epochs.append(epoch)
        measures = " ".join(f"{name} {value:.4g}" for name, value in epoch.measures.items())
        print(
            f"{folder.name}: epoch {epoch.number} loss {epoch.loss:.4f} {measures} ({epoch.seconds:.0f} s)", flush=True
        )

    model = make(progress)
    save_model(model, folder)
    accuracy = {name: _accuracy(model, name, data) for name in ("validation", "test")}
    record = {"accuracy": accuracy, "epochs": [asdict(one) for one in epochs]}
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{folder.name}: {accuracy}", flush=True)
    return model


def _accuracy(model: EditableModel, part: str, data: Cifar10) -> float:
    chosen = data.validation if part == "validation" else data.test
    return (predict(model, chosen.images).argmax(1) == chosen.labels).float().mean().item()
