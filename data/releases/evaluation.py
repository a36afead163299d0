"""What evaluation saw, image by image: the particulars behind the gate's numbers, for the release report and machines.

    metrics/evaluation.json    {"format": "errata-evaluation/1", "corrections": [...], "classes": [...], "slots": [...],
                                "slices": [...]}

The gate never reads this file; its criteria are computed from the same predictions.
"""

from __future__ import annotations

from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.records import STRICT, Count, Real, canonical_json, parse_record


@dataclass(frozen=True, config=STRICT)
class CorrectionOutcome:
    """One correction in the shipped file: what the root said of its image and what the release says.

    `slot` decided (-1: none fired), `kind` fired (-1: none did); `views_right` of `views` unseen views come out as
    `expected`.
    """

    id: str
    expected: str
    before: str
    before_probability: Real
    after: str
    after_probability: Real
    slot: int
    views_right: Count
    views: Count
    kind: int = -1


@dataclass(frozen=True, config=STRICT)
class ClassOutcome:
    """One class on the gate split: `n` images, how many the root and the release get right, and which way they flip."""

    name: str
    n: Count
    right_before: Count
    right_after: Count
    negative_flips: Count
    positive_flips: Count


@dataclass(frozen=True, config=STRICT)
class SliceOutcome:
    """One slice of the gate split: `n` images with something in common, and how many of them the release breaks."""

    name: str
    n: Count
    negative_flips: Count


@dataclass(frozen=True, config=STRICT)
class SlotOutcome:
    """How many gate images a slot decided, by making the prediction what it is."""

    slot: int
    decided: Count


@dataclass(frozen=True, config=STRICT)
class KindOutcome:
    """On how many gate images, and of how many of the day's requests (None: there is no such split), a kind fires."""

    kind: int
    gate: Count
    traffic: Count | None


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """Everything: `Evaluation.from_json(e.to_json()) == e`. Slots that decided no gate image are not in `slots`."""

    corrections: tuple[CorrectionOutcome, ...]
    classes: tuple[ClassOutcome, ...]
    slots: tuple[SlotOutcome, ...]
    slices: tuple[SliceOutcome, ...] = ()
    kinds: tuple[KindOutcome, ...] = ()
    format: Literal["errata-evaluation/1"] = "errata-evaluation/1"

    @property
    def decided(self) -> dict[int, int]:
        """How many gate images each slot decided."""
        return {each.slot: each.decided for each in self.slots}

    def to_json(self) -> bytes:
        """Canonical bytes; of kinds nothing where there are none."""
        plain = {name: value for name, value in vars(self).items() if name != "kinds" or value}
        if not self.kinds:
            plain["corrections"] = [
                {name: value for name, value in vars(each).items() if name != "kind"} for each in self.corrections
            ]
        return canonical_json(plain)

    @staticmethod
    def from_json(content: bytes) -> Evaluation:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_EVALUATION, content, "evaluation.json", "run `dvc repro`, or restore it")


_EVALUATION = TypeAdapter(Evaluation)
