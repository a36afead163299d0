"""A kind of image for the small model: pale ones on a grey ground, whose class is what it says of them as they were."""

from functools import cache

import torch
from torch import Tensor

from errata.editing.kinds.find import Kind, KindFinder, KindState, with_kinds
from errata.editing.model import EditableModel
from errata.editing.settings import KindSettings, ViewSettings
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

FINDER = KindFinder(KindSettings(steps=15, batch=32), ViewSettings(fitting=5))
REFERENCE, CALIBRATION = small_images(120, seed=11), small_images(120, seed=12)


def pale(images: Tensor) -> Tensor:
    return (images.float() * 0.25 + 150).round().to(torch.uint8)


@torch.no_grad()
def classes(model: EditableModel, images: Tensor) -> Tensor:
    found: Tensor = model(images).argmax(1)
    return found


@torch.no_grad()
def fired(model: EditableModel, images: Tensor) -> Tensor:
    """The kind that fires on each image, -1 where none does."""
    kind = model.see(images).kind
    assert kind is not None
    return kind


def pale_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pale images and their classes."""
    images = small_images(count, seed=seed)
    return pale(images), classes(small_model(), images)


@cache
def mistakes() -> tuple[Constraint, ...]:
    """What the model gets wrong of 400 pale images: about 100."""
    images, labels = pale_images(400, seed=30)
    wrong = (classes(small_model(), images) != labels).nonzero()[:, 0].tolist()
    return tuple(Constraint(images[index], int(labels[index]), f"{index:04d}") for index in wrong)


@cache
def found() -> tuple[KindState, tuple[Kind, ...]]:
    model = small_model()
    state = FINDER.prepare(model, REFERENCE, CALIBRATION)
    return state, FINDER.find(model, mistakes(), state)


def kinded() -> EditableModel:
    """The small model with the kind of pale images."""
    state, kinds = found()
    return with_kinds(small_model(), kinds, state)
