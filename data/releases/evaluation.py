"""What evaluation saw, image by image: the particulars behind the gate's numbers, for the release report and machines.

    metrics/evaluation.json    {"format": "errata-evaluation/1", "corrections": [...], "classes": [...], "slots": [...],
                                "slices": [...], "test": {...}}

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
    `expected`, all but those numbered in `wrong_views`.
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
    wrong_views: tuple[Count, ...] = ()

    @property
    def mended(self) -> bool:
        """Whether the root got its image wrong. If not, a release broke it that was live when it was reported."""
        return self.before != self.expected


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
class FlippedImage:
    """An image, by its number, that root (`before`) and release (`after`) predict differently, one of them rightly.

    `slot` decided, `kind` fired; -1: none did.
    """

    index: Count
    label: str
    before: str
    after: str
    slot: int
    kind: int

    @property
    def broken(self) -> bool:
        """Whether it was right before."""
        return self.before == self.label


@dataclass(frozen=True, config=STRICT)
class Flips:
    """What became of `images` images that nobody reported: which of them were `flipped`, in order."""

    images: Count
    flipped: tuple[FlippedImage, ...]


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """Everything: `Evaluation.from_json(e.to_json()) == e`. Slots that decided no gate image are not in `slots`.

    `test`: the flips among the images of the test split, which decides nothing; those of the gate split are not told
    one by one, for who sees them could tune to them.
    """

    corrections: tuple[CorrectionOutcome, ...]
    classes: tuple[ClassOutcome, ...]
    slots: tuple[SlotOutcome, ...]
    slices: tuple[SliceOutcome, ...] = ()
    kinds: tuple[KindOutcome, ...] = ()
    test: Flips | None = None
    format: Literal["errata-evaluation/1"] = "errata-evaluation/1"

    @property
    def decided(self) -> dict[int, int]:
        """How many gate images each slot decided."""
        return {each.slot: each.decided for each in self.slots}

    def to_json(self) -> bytes:
        """Canonical bytes; of kinds, wrong views and test images nothing where there are none."""
        plain = {name: value for name, value in vars(self).items() if name not in {"kinds", "test"} or value}
        plain["corrections"] = [
            {
                name: value
                for name, value in vars(each).items()
                if (name != "kind" or self.kinds) and (name != "wrong_views" or value)
            }
            for each in self.corrections
        ]
        return canonical_json(plain)

    @staticmethod
    def from_json(content: bytes) -> Evaluation:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_EVALUATION, content, "evaluation.json", "run `dvc repro`, or restore it")


_EVALUATION = TypeAdapter(Evaluation)
