"""EfficientNet-Lite0, photos, corrections drawn from its mistakes on them, and how an edit is judged.

All of it follows from the root's features, which are computed once and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from errata.data.datasets import LabelledImages
from errata.data.kept_blocks import KeptBlocks
from errata.editing.editors.detectors import background
from errata.editing.features import Features, backbone_digest
from errata.editing.kinds.concepts import ConceptSight
from errata.editing.kinds.find import KindState
from errata.editing.kinds.tail import tune_tail
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.networks.imagenet import WEIGHTS, imagenet_outputs, read_published
from errata.editing.pretrained import load_weights
from errata.editing.scopes import Scope
from errata.editing.settings import KindSettings, ViewSettings
from errata.editing.types import Tensors
from errata.editing.views import fitting_views, unseen_views

ARCHITECTURE = "efficientnet_lite0"
SHAPE = (224, 224, 3)
VIEWS = ViewSettings(fitting=9, unseen=4, max_shift=0.08, flip=True)
SETTINGS = KindSettings(batch_norm_share=0.0)
CORRECTIONS = 24
HEAD = ("head.weight", "head.bias")
MIXED = "mixed"


class OnFeatures(EditableModel):
    """A model whose images are rows of features already."""

    def __init__(self, root: EditableModel) -> None:
        super().__init__(root.spec, nn.Sequential(), root.head)

    def normalise(self, images: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class Part:
    """Photos uint8 `[n, 224, 224, 3]`, their features `[n, d]` and classes int64 `[n]`."""

    images: Tensor
    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Draw:
    """Corrections, and the other mistakes on the same classes: rows of the pool. `about` is `mixed` or a class."""

    about: str
    half: int
    chosen: tuple[int, ...]
    others: tuple[int, ...]


Edit = Callable[[Draw], EditableModel]


@dataclass(frozen=True)
class Outcome:
    """One edit. `hold`, `views`, `others` are shares of what should be right; `flips` of control photos (right before,
    wrong after), `spoilt` of the pool's right photos of the same classes; `corrections` and `others_n` are counts."""

    about: str
    half: int
    corrections: int
    hold: float
    views: float
    others: float
    others_n: int
    spoilt: float
    flips: float
    seconds: float


class Bench:
    """The root and its photos."""

    def __init__(self, dataset: LabelledImages, sizes: Sequence[int], cache: Path) -> None:
        self.root = published_root(dataset.classes)
        self.features = Features(KeptBlocks(cache / "features.sqlite"), backbone_digest(self.root))
        counted = np.zeros(len(dataset), np.int64)  # the photo's number within its class
        for label in range(len(dataset.classes)):
            mine = np.flatnonzero(dataset.labels == label)
            counted[np.random.default_rng(label).permutation(mine)] = np.arange(len(mine))
        bounds = [0, *np.cumsum(sizes), len(dataset)]
        self.reference, self.calibration, self.control, self.pool = (
            self._part(dataset.take(np.flatnonzero((counted >= low) & (counted < high))))
            for low, high in pairwise(bounds)
        )
        self.root.patch.fit(self.reference.features)

    def _part(self, photos: LabelledImages) -> Part:
        images = torch.from_numpy(photos.images)
        return Part(images, self.features.of(self.root, images), torch.from_numpy(photos.labels))

    @cached_property
    def wrong(self) -> Tensor:
        """Which photos of the pool the root gets wrong: bool `[n]`."""
        return predicted(self.root, self.pool.features) != self.pool.labels

    @cached_property
    def kind_state(self) -> KindState:
        """Detectors that look at the features themselves: what photos are of, not how they were taken."""
        slots, known = self.root.patch, self.reference.features
        controls = background(slots.directions(known), slots.directions(self.calibration.features), SETTINGS.eps)
        layers = Scope("head").resolve(self.root)
        return KindState(None, layers, self.reference.images, ConceptSight(slots, controls, known))

    def draws(self, concepts: int, halves: int) -> Iterator[Draw]:
        """Random halves: of all mistakes, and of those on each of the classes that have most (or 24 of them)."""
        counts = torch.bincount(self.pool.labels[self.wrong], minlength=len(self.root.spec.classes))
        most = counts.argsort(descending=True, stable=True)[:concepts].tolist()
        for half in range(halves):
            for number, label in [(0, None), *enumerate(most, 1)]:
                mine = self.wrong if label is None else self.wrong & (self.pool.labels == label)
                rows = mine.nonzero()[:, 0]
                rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(100 * half + number))]
                count = min(CORRECTIONS, len(rows) // 2)
                if not count:
                    continue
                classes = self.pool.labels[rows[:count]]
                others = [row for row in rows[count:].tolist() if bool((classes == self.pool.labels[row]).any())]
                name = MIXED if label is None else self.root.spec.classes[label]
                yield Draw(name, half, tuple(rows[:count].tolist()), tuple(others))

    def views(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Features of the fitted views of the corrections `[k, v, d]`, and of the unseen ones."""
        images = self.pool.images[list(draw.chosen)]
        fitted = self.features.of_views(self.root, images, fitting_views, VIEWS, 0)
        return fitted, self.features.of_views(self.root, images, unseen_views, VIEWS, 0)

    def tuned_head(self, draw: Draw) -> Tensors:
        """The head tuned on the corrections' views, with KL to the root on reference photos."""
        fitted, _ = self.views(draw)
        expected = self.pool.labels[list(draw.chosen)].repeat_interleave(fitted.shape[1])
        model = OnFeatures(self.root)
        layers = Scope("head").resolve(model)
        return tune_tail(model, model, layers, fitted.flatten(0, 1), expected, self.reference.features, SETTINGS, 0)

    def judge(self, edit: Edit, draw: Draw) -> Outcome:
        """Correct one draw, and judge it."""
        chosen, others, pool = list(draw.chosen), list(draw.others), self.pool
        _, unseen = self.views(draw)
        started = time.perf_counter()
        model = edit(draw)
        seconds = time.perf_counter() - started
        same = (pool.labels[:, None] == pool.labels[chosen]).any(1) & ~self.wrong
        flips = before_and_after(self.root, model, self.control)
        return Outcome(
            draw.about, draw.half, len(chosen),
            hold=share(predicted(model, pool.features[chosen]) == pool.labels[chosen]),
            views=share(predicted(model, unseen.flatten(0, 1)).view(unseen.shape[:2]) == pool.labels[chosen][:, None]),
            others=share(predicted(model, pool.features[others]) == pool.labels[others]),
            others_n=len(others),
            spoilt=share(predicted(model, pool.features[same]) != pool.labels[same]),
            flips=flips,
            seconds=seconds,
        )  # fmt: skip


def published_root(classes: tuple[str, ...]) -> EditableModel:
    """EfficientNet-Lite0 as published, for these classes."""
    known = WEIGHTS[ARCHITECTURE]
    root = EditableModel.from_spec(ModelSpec(ARCHITECTURE, classes, SHAPE, known.mean, known.std, {}, CORRECTIONS))
    name, content = read_published(ARCHITECTURE)
    load_weights(root.eval(), content, name, imagenet_outputs(classes))
    return root


@torch.no_grad()
def predicted(model: EditableModel, features: Tensor) -> Tensor:
    """The class of each row of the root's features `[n, d]`: int64 `[n]`; a model's kinds see them as detectors do."""
    logits = model.classify(features)
    if model.kinds is not None:
        kind = model.kinds.which(None, model.patch.directions(features))
        for number in range(len(model.kinds)):
            own = [model.kinds.replaced_by(number)[name] for name in HEAD]
            logits = torch.where((kind == number)[:, None], nn.functional.linear(features, *own), logits)
    return logits.argmax(1)


def before_and_after(root: EditableModel, model: EditableModel, part: Part) -> float:
    """The share of photos right before and wrong after."""
    right = [predicted(one, part.features) == part.labels for one in (root, model)]
    return share(right[0] & ~right[1])


def share(which: Tensor) -> float:
    """The mean of booleans; NaN of none."""
    return which.float().mean().item()
