"""The outcome of each class, correction and slot, counted from the predictions of the root and of the shipped file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from errata.data.releases.evaluation import ClassOutcome, CorrectionOutcome, FlippedImage, Flips, SlotOutcome
from errata.data.releases.ledger import Ledger
from errata.editing.metrics import predicted_classes
from errata.editing.onnx.export import Predictions

Classes = NDArray[np.int64]


class Decided(Protocol):
    """Of each image int64 `[n]`: the `slot` that decided, and the `kind` that fired; -1 where none did."""

    @property
    def slot(self) -> Classes: ...

    @property
    def kind(self) -> Classes: ...


def class_outcomes(labels: Classes, before: Classes, after: Classes, names: Sequence[str]) -> tuple[ClassOutcome, ...]:
    """One outcome for each class that occurs, from labels and paired predictions `[n]`."""
    found = []
    for index, name in enumerate(names):
        mine = labels == index
        was, now = before[mine] == index, after[mine] == index
        if mine.any():
            counts = (mine.sum(), was.sum(), now.sum(), (was & ~now).sum(), (~was & now).sum())
            found.append(ClassOutcome(name, *(int(count) for count in counts)))
    return tuple(found)


def correction_outcomes(
    ledger: Ledger, classes: tuple[str, ...], before: Predictions, after: Predictions, seen: Classes
) -> tuple[CorrectionOutcome, ...]:
    """What became of each correction: predictions of its image by root and release, of its views `[k, views]`."""
    was, now = predicted_classes(before.logits), predicted_classes(after.logits)
    return tuple(
        CorrectionOutcome(
            id=each.id,
            expected=each.expected,
            before=classes[was[row]],
            before_probability=round(float(before.probabilities[row, was[row]]), 6),
            after=classes[now[row]],
            after_probability=round(float(after.probabilities[row, now[row]]), 6),
            slot=int(after.slot[row]),
            views_right=int((seen[row] == classes.index(each.expected)).sum()),
            views=seen.shape[1],
            kind=int(after.kind[row]),
            wrong_views=tuple(int(view) for view in np.flatnonzero(seen[row] != classes.index(each.expected))),
        )
        for row, each in enumerate(ledger.corrections)
    )


def slot_outcomes(slot: NDArray[np.int64]) -> tuple[SlotOutcome, ...]:
    """How many images each slot decided, from the file's `slot` output `[n]`."""
    slots, counts = np.unique(slot[slot >= 0], return_counts=True)
    return tuple(SlotOutcome(int(one), int(count)) for one, count in zip(slots, counts, strict=True))


def flips(labels: Classes, was: Classes, now: Classes, by: Decided, classes: tuple[str, ...]) -> Flips:
    """Which of images with those `labels` `[n]` only one of the paired predictions has right; the later one is `by`."""
    flipped = np.flatnonzero((was == labels) != (now == labels))
    return Flips(
        images=len(labels),
        flipped=tuple(
            FlippedImage(
                index=int(row),
                label=classes[labels[row]],
                before=classes[was[row]],
                after=classes[now[row]],
                slot=int(by.slot[row]),
                kind=int(by.kind[row]),
            )
            for row in flipped
        ),
    )
