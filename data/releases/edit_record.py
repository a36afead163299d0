"""What the stage `edit` made of the ledger, as a record: artifacts/candidate/edit.json, and `edit.json` in a bundle."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.records import STRICT, Count, Real, canonical_json, parse_record

Unheld = Literal["not apart", "conflict", "no slot"]
WHY_DEFERRED: dict[Unheld, str] = {
    "not apart": "no slot can tell its image from control images",
    "conflict": "nearly the same image is corrected to another class; retract one of the two",
    "no slot": "every slot is taken; train a new root",
}


@dataclass(frozen=True, config=STRICT)
class SlotRecord:
    """How the patch slot of the correction `key` came out.

    `margin`: by how many standard deviations of calibration scores it fires, at the least, on a fitted view.
    `calibration_firing`: the share of calibration images on which it fires. Not `separated`: no slot was written; the
    correction is deferred, or in the weights of the head.
    """

    key: str
    slot: int
    margin: Real
    calibration_firing: Real
    separated: bool


@dataclass(frozen=True, config=STRICT)
class ChangedAnswer:
    """An unlabelled image of the day's requests (its pixel digest) whose class a kind changes from `old` to `new`."""

    image: str
    old: str
    new: str


@dataclass(frozen=True, config=STRICT)
class KindRecord:
    """A kind that was found among the corrections, and what it did before any slot was written.

    `kind` is its number in the model, -1 if it is not used: then `why` says why, and its corrections are pictures.
    `fitted` and `held_out` are corrections; `mended` of the held-out ones come out right. `calibration_firing` is the
    share of calibration images on which it fires. On `labelled` images of the kind, which judge and are never fitted,
    `increase` is the error rate that it adds (negative: it errs less). Bounds are the gate's. `questions` is a sample
    of what it changes in the day's requests, for a person to judge. The detector of a `concept` looks at features, that
    of a kind of image at the early stages.
    """

    name: str
    kind: int
    fitted: tuple[str, ...]
    held_out: tuple[str, ...]
    mended: Count
    gain_bound: Real
    calibration_firing: Real
    labelled: Count
    increase: Real
    increase_bound: Real
    why: str = ""
    questions: tuple[ChangedAnswer, ...] = ()
    concept: bool = False

    @property
    def corrections(self) -> frozenset[str]:
        """All that it was seen in."""
        return frozenset((*self.fitted, *self.held_out))


@dataclass(frozen=True, config=STRICT)
class EditRecord:
    """The edit of the whole ledger: `EditRecord.from_json(r.to_json()) == r`.

    `holds` says for each correction, by its identity, whether its constraint holds; `success` that all do; `reason` is
    a sentence, empty on success; `steps` is how many updates were made. `kinds` are those that were found;
    `kinds_reason` says why none was looked for. `deferred` are the corrections of the ledger that no slot can hold:
    nothing was done for them, and every later release tries again.
    """

    success: bool
    steps: Count
    reason: str
    holds: dict[str, bool]
    slots: tuple[SlotRecord, ...] = ()
    kinds: tuple[KindRecord, ...] = ()
    kinds_reason: str = ""
    deferred: dict[str, Unheld] = field(default_factory=dict)

    @property
    def used_kinds(self) -> tuple[KindRecord, ...]:
        """Those in the model, in the order of their numbers."""
        return tuple(sorted((each for each in self.kinds if each.kind >= 0), key=lambda each: each.kind))

    @property
    def by_slot(self) -> dict[int, str]:
        """The identity of the correction that each written slot holds."""
        return {each.slot: each.key for each in self.slots if each.separated}

    def to_json(self) -> bytes:
        """Canonical bytes; of kinds and of deferred corrections nothing where there are none."""
        rare = {"kinds", "kinds_reason", "deferred"}
        return canonical_json({name: value for name, value in vars(self).items() if name not in rare or value})

    @staticmethod
    def from_json(content: bytes) -> EditRecord:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_EDIT, content, "edit.json", "run `dvc repro`, or restore it")


_EDIT = TypeAdapter(EditRecord)
