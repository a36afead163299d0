"""Two releases side by side: which corrections came and went, what the gate measured, which predictions changed.

Both files are run on the images of the test split, which decides nothing. The gate split is not shown: who sees which
of its images a change would turn could tune to it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from errata.data import layout
from errata.data.images import encode_png
from errata.data.releases.correction_images import correction_file
from errata.data.releases.erasure import erased_digests
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import Manifest, read_file, read_model
from errata.data.splits import load_split
from errata.data.storage.base import Storage
from errata.editing.metrics import predicted_classes
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.gate.tables import said
from errata.flows.releases.pointer import released_digest, verified
from errata.flows.workspace import Workspace

SPLIT = "test"
Change = Literal["mended", "broken", "wrong both times"]


@dataclass(frozen=True)
class CriterionPair:
    """A criterion of the gate in both releases; None where one has not that row, or no number for it."""

    name: str
    first: float | None
    second: float | None

    def said(self, value: float | None) -> str:
        """One of the two as the gate's table has it."""
        return "-" if value is None else said(self.name, value)


@dataclass(frozen=True)
class ChangedPrediction:
    """A test image, by its number in the split, that the two releases predict differently; `picture`: a PNG file."""

    index: int
    label: str
    first: str
    second: str
    picture: bytes

    @property
    def change(self) -> Change:
        """What the second release made of it."""
        return "mended" if self.second == self.label else "broken" if self.first == self.label else "wrong both times"


@dataclass(frozen=True)
class ReleaseDiff:
    """Release `second` against `first`. `pictures` are those of the corrections that came or went, less erased ones."""

    first: int
    second: int
    same_root: bool
    added: tuple[Correction, ...]
    removed: tuple[Correction, ...]
    criteria: tuple[CriterionPair, ...]
    images: int
    changed: tuple[ChangedPrediction, ...]
    pictures: dict[str, bytes]

    def count(self, change: Change) -> int:
        """How many test images changed so."""
        return sum(each.change == change for each in self.changed)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without pictures."""
        plain = {key: value for key, value in asdict(self).items() if key != "pictures"}
        rows = [(each, asdict(each)) for each in self.changed]
        plain["changed"] = [{**row, "change": each.change} for each, row in rows]
        for row in plain["changed"]:
            del row["picture"]
        return plain


def diff_releases(storage: Storage, workspace: Workspace, first: int, second: int) -> ReleaseDiff:
    """Hold release `second` against `first`; the workspace has the test split that both are run on.

    Raises NightError if one of them never was live, Damaged if it does not verify, Removed if it is spent, DataError
    if there are no splits here.
    """
    manifests = [verified(storage, each, released_digest(storage, each)) for each in (first, second)]
    before, after = (Ledger.from_jsonl(read_file(storage, each, "ledger.jsonl").decode()) for each in manifests)
    added, removed = _only_in(after, before), _only_in(before, after)
    models = [OnnxClassifier(read_model(storage, each)) for each in manifests]
    left = {each.id for each in (*added, *removed)} - erased_digests(storage)
    return ReleaseDiff(
        first=first,
        second=second,
        same_root=manifests[0].root == manifests[1].root,
        added=added,
        removed=removed,
        criteria=tuple(_criteria(*(_values(storage, each) for each in manifests))),
        images=len(load_split(workspace.splits, SPLIT)),
        changed=_changed(workspace, models, [_classes(storage, each) for each in manifests]),
        pictures={each: correction_file(storage, each, models[0].image_shape) for each in sorted(left)},
    )


def _only_in(ledger: Ledger, other: Ledger) -> tuple[Correction, ...]:
    """The corrections of one ledger whose claim the other has not."""
    held = {each.claim for each in other.corrections}
    return tuple(each for each in ledger.corrections if each.claim not in held)


def _values(storage: Storage, manifest: Manifest) -> dict[str, float | None]:
    rows = GateMeasurements.from_json(read_file(storage, manifest, "gate.json")).rows
    return {str(each.name): each.value if each.value == each.value else None for each in rows}


def _criteria(first: dict[str, float | None], second: dict[str, float | None]) -> list[CriterionPair]:
    names = dict.fromkeys((*first, *second))
    return [CriterionPair(name, first.get(name), second.get(name)) for name in names]


def _classes(storage: Storage, manifest: Manifest) -> list[str]:
    return read_file(storage, manifest, layout.LABELS).decode().splitlines()


def _changed(
    workspace: Workspace, models: list[OnnxClassifier], classes: list[list[str]]
) -> tuple[ChangedPrediction, ...]:
    split = load_split(workspace.splits, SPLIT)
    said = [
        [names[index] for index in predicted_classes(model.predict(split.images).logits)]
        for model, names in zip(models, classes, strict=True)
    ]
    return tuple(
        ChangedPrediction(index, split.classes[split.labels[index]], one, other, encode_png(split.images[index]))
        for index, (one, other) in enumerate(zip(*said, strict=True))
        if one != other
    )
