"""What root and candidate say of the same images: a few numbers of each, however many classes there are.

A million images and 1,000 classes are 4 GB of logits for each of the two, and nothing that the gate asks needs them all
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from errata.data.images import Pixels
from errata.editing.batches import parts
from errata.editing.metrics import predicted_classes
from errata.editing.onnx.shortcut import Classifier

Classes = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
AT_ONCE = 4096  # images whose features and logits are held together


@dataclass(frozen=True, eq=False)
class PairedAnswers:
    """Of images `[n]`: the predicted classes `before` (the root's) and `after` (the candidate's); the root's `second`
    best class, and by how much its first one leads (`margin`, logits); and by how much that probability `moved` that
    moved most."""

    before: Classes
    after: Classes
    second: Classes
    margin: Floats
    moved: Floats

    def __len__(self) -> int:
        return len(self.before)


def compare_answers(before: Floats, after: Floats) -> PairedAnswers:
    """From logits `[n, classes]` of the same images, n at least 1. Raises MeasurementError if they contain NaN."""
    old, rows = predicted_classes(before), np.arange(len(before))
    others = before.copy()
    others[rows, old] = -np.inf
    second = others.argmax(axis=1)
    margin = before[rows, old] - before[rows, second]
    return PairedAnswers(old, predicted_classes(after), second, margin, probability_moved(before, after))


def probability_moved(before: Floats, after: Floats) -> Floats:
    """By how much that probability moves that moves most: `[n]`, from logits `[n, classes]`; NaN where one is."""
    moved: Floats = np.abs(softmax(before, axis=1) - softmax(after, axis=1)).max(axis=1)
    return moved


def join_answers(parts: Sequence[PairedAnswers]) -> PairedAnswers:
    """The answers to all images of the parts, in their order."""
    return PairedAnswers(
        *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(PairedAnswers))
    )


def classes_of(classifier: Classifier, images: Pixels) -> Classes:
    """The predicted class of each of uint8 `[n, h, w, c]`: `[n]`."""
    some = (images[part] for part in parts(len(images), images.shape[1:], AT_ONCE))
    return np.concatenate([predicted_classes(classifier.predict(each).logits) for each in some])
