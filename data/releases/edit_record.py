"""What the stage `edit` made of the ledger, as a record: artifacts/candidate/edit.json, and `edit.json` in a bundle."""

from __future__ import annotations

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from data.records import STRICT, Count, Real, canonical_json, parse_record


@dataclass(frozen=True, config=STRICT)
class SlotRecord:
    """How the patch slot of the correction `key` came out.

    `margin`: by how many standard deviations of calibration scores it fires, at the least, on a fitted view.
    `calibration_firing`: the share of calibration images on which it fires. Not `separated`: no slot was written, the
    correction is in the weights.
    """

    key: str
    slot: int
    margin: Real
    calibration_firing: Real
    separated: bool


@dataclass(frozen=True, config=STRICT)
class EditRecord:
    """The edit of the whole ledger: `EditRecord.from_json(r.to_json()) == r`.

    `holds` says for each correction, by its identity, whether its constraint holds; `success` that all do; `reason` is
    a sentence, empty on success; `steps` is how many updates were made.
    """

    success: bool
    steps: Count
    reason: str
    holds: dict[str, bool]
    slots: tuple[SlotRecord, ...] = ()

    @property
    def by_slot(self) -> dict[int, str]:
        """The identity of the correction that each written slot holds."""
        return {each.slot: each.key for each in self.slots if each.separated}

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)

    @staticmethod
    def from_json(content: bytes) -> EditRecord:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_EDIT, content, "edit.json", "run `dvc repro`, or restore it")


_EDIT = TypeAdapter(EditRecord)
