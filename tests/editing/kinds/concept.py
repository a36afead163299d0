"""A concept for the small model: noise whose features lie far out one way, which people call the last class."""

from functools import cache

import torch
from torch import Tensor

from errata.editing.kinds.find import Kind, KindFinder, KindState, with_kinds
from errata.editing.model import EditableModel, batched_features
from errata.editing.settings import ConceptSettings, KindSettings, ViewSettings
from errata.editing.types import Constraint
from tests.editing.kinds.pale import classes
from tests.editing.models import small_images, small_model

VIEWS = ViewSettings(fitting=3)
CLAIMED = 3
FINDER = KindFinder(
    KindSettings(most=0, batch=32, concept=ConceptSettings(most=2, alpha=0.01, steps=30, learning_rate=0.01)),
    VIEWS,
)


@cache
def sorted_out() -> tuple[Tensor, Tensor]:
    """Images of the concept, which the model gets wrong, and ordinary ones."""
    model, images = small_model(), small_images(1600, seed=50)
    features = batched_features(model, images)
    direction = torch.linalg.svd(features - features.mean(0)).Vh[0]
    far = features @ direction
    mine = (far > far.quantile(0.95)) & (classes(model, images) != CLAIMED)
    return images[mine], images[far < far.quantile(0.8)]


def control() -> tuple[Tensor, Tensor]:
    """Reference and calibration images: ordinary ones."""
    ordinary = sorted_out()[1]
    return ordinary[:200], ordinary[200:600]


def unseen() -> tuple[Tensor, Tensor]:
    """Images of the concept that are in no correction, and ordinary ones that are neither reference nor calibration."""
    mine, ordinary = sorted_out()
    return mine[36:], ordinary[600:]


@cache
def claims() -> tuple[Constraint, ...]:
    return tuple(Constraint(image, CLAIMED, f"{number:04d}") for number, image in enumerate(sorted_out()[0][:36]))


@cache
def found() -> tuple[KindState, tuple[Kind, ...]]:
    state = FINDER.prepare(small_model(), *control())
    return state, FINDER.find(small_model(), claims(), state)


def conceived() -> EditableModel:
    """The small model with the kind of this concept."""
    state, kinds = found()
    return with_kinds(small_model(), kinds, state)
