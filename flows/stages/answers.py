"""What the exported file says of images, at the price of what is new about them.

A release that is its root with another head and slots is answered for by the root's features, which are known already
(`editing.shortcut`). That this is what the file says is not taken on trust: `held_against_the_file` asks the file
itself about every corrected image and about control images drawn at random, other ones for each candidate, and their
difference is the gate's criterion `parity`. Any other release is asked whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from errata.data.images import Pixels
from errata.editing.export import OnnxClassifier, Parity, Predictions, compare
from errata.editing.settings import ViewSettings
from errata.editing.shortcut import Shortcut
from errata.editing.views import unseen_views

DRAWN = 500  # control images at least that go through the whole file


@dataclass(frozen=True)
class Answers:
    """An exported file, and its shortcut where it has one."""

    file: OnnxClassifier
    shortcut: Shortcut | None

    def predict(self, images: Pixels) -> Predictions:
        """Predictions for uint8 `[n, h, w, c]`, n >= 1."""
        return (self.shortcut or self.file).predict(images)

    def predict_views(self, images: Pixels, settings: ViewSettings, seed: int) -> Predictions:
        """Predictions for the unseen views of each of uint8 `[k, h, w, c]`: rows `[k * settings.unseen]`."""
        each = torch.from_numpy(images)
        if self.shortcut:
            return self.shortcut.predict_views(each, unseen_views, settings, seed)
        draw = partial(unseen_views, settings=settings, seed=seed)
        return self.file.predict(np.concatenate([draw(image).numpy() for image in each]))


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
