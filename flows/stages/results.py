"""What evaluation saw, image by image: the particulars behind the gate's numbers, for the release report and machines.

    metrics/evaluation.json    {"format": "errata-evaluation/1", "corrections": [...], "classes": [...], "slots": [...]}

The gate never reads this file; its criteria are computed from the same predictions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.ledger import Ledger
from editing.errors import DataError
from editing.export import Predictions
from editing.metrics import predicted_classes

FORMAT = "errata-evaluation/1"
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class CorrectionOutcome:
    """One correction in the shipped file: what the root said of its image and what the release says.

    `slot` decided (-1: none fired); `views_right` of `views` unseen views come out as `expected`.
    """

    id: str
    expected: str
    before: str
    before_probability: float
    after: str
    after_probability: float
    slot: int
    views_right: int
    views: int


@dataclass(frozen=True)
class ClassOutcome:
    """One class on the gate split: `n` images, how many the root and the release get right, and which way they flip."""

    name: str
    n: int
    right_before: int
    right_after: int
    negative_flips: int
    positive_flips: int


@dataclass(frozen=True)
class Evaluation:
    """Everything; `decided` counts, by slot, the gate images whose prediction it decided (slots that never did: not
    there)."""

    corrections: tuple[CorrectionOutcome, ...]
    classes: tuple[ClassOutcome, ...]
    decided: dict[int, int]

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Evaluation.from_json(f.to_json()) == f`."""
        slots = [{"slot": slot, "decided": count} for slot, count in sorted(self.decided.items())]
        return {
            "format": FORMAT,
            "corrections": [asdict(each) for each in self.corrections],
            "classes": [asdict(each) for each in self.classes],
            "slots": slots,
        }

    @staticmethod
    def from_json(content: bytes) -> Evaluation:
        """Parse it back; raises DataError on any other document."""
        try:
            raw = json.loads(content)
            if raw["format"] != FORMAT:
                raise ValueError(f"not of format {FORMAT}")
            return Evaluation(
                tuple(CorrectionOutcome(**each) for each in raw["corrections"]),
                tuple(ClassOutcome(**each) for each in raw["classes"]),
                {int(each["slot"]): int(each["decided"]) for each in raw["slots"]},
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"evaluation.json cannot be read ({error}); run `dvc repro`") from error


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
        )
        for row, each in enumerate(ledger.corrections)
    )


def decided_by_slot(correction: NDArray[np.int64]) -> dict[int, int]:
    """How many images each slot decided, from the file's `correction` output `[n]`."""
    slots, counts = np.unique(correction[correction >= 0], return_counts=True)
    return dict(zip(slots.tolist(), counts.tolist(), strict=True))
