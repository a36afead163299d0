"""What the exported file says of images, at the price of what is new about them.

A release that is its root with another head and slots is answered for by the root's features, which are known already
(`editing.onnx.shortcut`). That this is what the file says is not taken on trust: `held_against_the_file` asks the file
itself about every corrected image and about control images drawn at random, other ones for each candidate, and their
difference is the gate's criterion `parity`. Any other release is asked whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from errata.data.images import Pixels
from errata.editing.batches import parts
from errata.editing.features import Features
from errata.editing.model import EditableModel
from errata.editing.onnx.export import OnnxClassifier, Parity, Predictions, compare
from errata.editing.onnx.shortcut import Shortcut, shortcut
from errata.editing.settings import ViewSettings
from errata.editing.tensors import tensor_of
from errata.editing.views import unseen_views
from errata.flows.gate.paired import AT_ONCE, Classes, PairedAnswers, compare_answers, join_answers

DRAWN = 500  # control images at least that go through the whole file


@dataclass(frozen=True)
class Answers:
    """An exported file, and its shortcut where it has one."""

    file: OnnxClassifier
    shortcut: Shortcut | None

    def predict(self, images: Pixels) -> Predictions:
        """Predictions for uint8 `[n, h, w, c]`, n >= 1."""
        return (self.shortcut or self.file).predict(images)

    def given(self, images: Pixels, features: Tensor) -> Predictions:
        """The same, where the root's `features` `[n, d]` of the images are known."""
        return self.shortcut.of_features(features) if self.shortcut else self.file.predict(images)

    def predict_views(self, images: Pixels, settings: ViewSettings, seed: int) -> Predictions:
        """Predictions for the unseen views of each of uint8 `[k, h, w, c]`: rows `[k * settings.unseen]`."""
        each = torch.from_numpy(images)
        if self.shortcut:
            return self.shortcut.predict_views(each, unseen_views, settings, seed)
        draw = partial(unseen_views, settings=settings, seed=seed)
        return self.file.predict(np.concatenate([draw(image).numpy() for image in each]))


@dataclass(frozen=True, eq=False)
class OnImages:
    """What root and release say of `n` images (`paired`); of the release which `slot` decided and which `kind` fired,
    int64 `[n]`; and the `cluster` of each by the root's features, -1 where there are no clusters."""

    paired: PairedAnswers
    slot: NDArray[np.int64]
    kind: NDArray[np.int64]
    cluster: NDArray[np.int64]


@dataclass(frozen=True)
class RootAndRelease:
    """Both files, and the `features` of the root's network `model`, by which they are answered for."""

    root: Answers
    release: Answers
    model: EditableModel
    features: Features

    def on(self, images: Pixels, nearest: Callable[[NDArray[np.float32]], Classes] | None = None) -> OnImages:
        """What is said of uint8 `[n, h, w, c]`, n >= 1; `nearest` gives clusters `[n]` from features `[n, d]`.

        Features are looked up once, and of few images at a time.
        """
        paired, slots, kinds, clusters = [], [], [], []
        for part in parts(len(images), images.shape[1:], AT_ONCE):
            some = images[part]
            features = self.features.of(self.model, tensor_of(some))
            before, after = (each.given(some, features) for each in (self.root, self.release))
            paired.append(compare_answers(before.logits, after.logits))
            slots.append(after.slot)
            kinds.append(after.kind)
            clusters.append(nearest(features.cpu().numpy()) if nearest else np.full(len(some), -1))
            self.features.tell("images asked about", part.stop, len(images))
        return OnImages(join_answers(paired), *(np.concatenate(each) for each in (slots, kinds, clusters)))


def drawn(images: Pixels, seed: str, count: int = DRAWN) -> Pixels:
    """`count` of the images at random, or all if there are no more; `seed` is a digest (hexadecimal)."""
    rng = np.random.default_rng(int(seed, 16))
    return images[np.sort(rng.permutation(len(images))[:count])]


def held_against_the_file(answers: tuple[Answers, ...], images: Pixels) -> Parity:
    """The worst agreement of any shortcut with its file, run whole on uint8 `[n, h, w, c]`."""
    found = [
        compare(each.shortcut.predict(images).logits, each.file.predict(images).logits)
        for each in answers
        if each.shortcut
    ]
    agreement = min(each.top1_agreement for each in found)
    return Parity(agreement, max(each.max_logit_difference for each in found), len(images))


def open_answers(source: Path | bytes, root: EditableModel, features: Features) -> Answers:
    """An exported file; answered for by the `features` of `root` if that is its root. Raises ExportError."""
    return Answers(OnnxClassifier(source), shortcut(source, root, features))
