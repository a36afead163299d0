"""People who are made up, and what they say of digits that a small network has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cifar10.data import Images
from benchmarks.doubt.people import Classes, Floats
from errata.data.belief.image_evidence import ImageEvidence
from errata.data.datasets import load_dataset
from errata.data.splits import make_splits
from errata.editing.model import EditableModel, ModelSpec, batched_features
from errata.editing.settings import TrainingSettings
from errata.editing.training.plain import train

ERROR = 0.17  # of the people who are made up, as of CIFAR-10N's


@dataclass(frozen=True)
class Scene:
    """Images that people look at: the chance of each class `[n, classes]`, what the model predicts and what is true
    `[n]`, and the model's accuracy on control images."""

    posterior: Floats
    predicted: Classes
    truth: Classes
    accuracy: float


def scene(model: EditableModel, control: Images, seen: Images) -> Scene:
    """What the network makes of images, held against control images."""
    parts = []
    for images in (control.images, seen.images):
        with torch.no_grad():
            features = batched_features(model, images)
            parts.append((torch.softmax(model.classify(features), 1).numpy(), features.numpy()))
    evidence = ImageEvidence(*parts[0], control.labels.numpy())
    return Scene(evidence.posterior(*parts[1]), parts[1][0].argmax(1), seen.labels.numpy(), evidence.accuracy)


def made_up(scene: Scene, kind: str, count: int, seed: int) -> tuple[Classes, NDArray[np.str_]]:
    """What `count` of forty people say of each image, and who they are."""
    rng = np.random.default_rng(seed)
    images, classes = scene.posterior.shape
    who = np.array([rng.choice(40, count, replace=False) for _ in range(images)])
    error = np.full(40, ERROR)
    if kind == "lazy reporters":
        error[:], error[:8] = 0.05, 0.65  # 0.17 on average
    alike = rng.dirichlet(np.full(classes, 0.3), classes)  # each class has a few that it is taken for
    said = np.repeat(scene.truth[:, None], count, axis=1)
    for image, person in zip(*np.nonzero(rng.random(who.shape) < error[who]), strict=True):
        truth = scene.truth[image]
        weights = np.ones(classes) if kind != "confusable classes" else alike[truth].copy()
        weights[truth] = 0
        said[image, person] = rng.choice(classes, p=weights / weights.sum())
    names = np.char.add("person ", who.astype(str))
    if kind == "a pair of liars":
        chosen = rng.permutation(images)[:100]
        wanted = (scene.truth[chosen] + rng.integers(1, classes, len(chosen))) % classes
        lies = np.full((images, 2), -1)
        lies[chosen] = wanted[:, None]
        said = np.concatenate([said, lies], axis=1)
        names = np.concatenate([names, np.tile(np.array(["liar 1", "liar 2"]), (images, 1))], axis=1)
    return said, names


def digits(seed: int) -> Scene:
    """A small network that has learned 150 digits, so that it errs; 550 are control images, the rest is seen."""
    dataset = load_dataset("digits")
    parts = make_splits(dataset, {"train": 150, "control": 550, "seen": -1}, seed)
    learned, control, seen = (
        Images(torch.from_numpy(part.images), torch.from_numpy(part.labels)) for part in parts.values()
    )
    torch.manual_seed(seed)
    shape = (8, 8, 1)
    spec = ModelSpec("resnet", dataset.classes, shape, (0.3,), (0.38,), {"width": 8, "blocks": 1})
    model = EditableModel.from_spec(spec)
    train(model, learned.images, learned.labels, TrainingSettings(epochs=30), seed=seed)
    return scene(model.eval(), control, seen)
