"""What a release takes for its kinds beside the ledger: images of the deployment whose class is known, and decisions.

    artifacts/ledger/labelled/ledger.jsonl, images/   labelled images as a ledger; `labelled.jsonl` in a bundle
    artifacts/ledger/kinds.json                       what people decided about kinds; `kinds.json` in a bundle

    labelled/<identity>.json                          in the store: a labelled image's line; its image is a correction's
    kinds/<n>.json                                    in the store: one decision, written once

Labelled images judge what a kind does to others of its kind, right and wrong ones alike; no editor is fitted to them.
So they must be drawn without looking at predictions, or only of those that a kind changes (`data.releases.questions`):
among these a harm is a larger share than among all, so that they judge more strictly. Where there are none of either,
there is no file.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as record

from errata.data import layout
from errata.data.images import Pixels
from errata.data.records import STRICT, Count, canonical_json, parse_record
from errata.data.releases.correction_images import copy_corrections, keep_image
from errata.data.releases.erasure import erased_digests
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import Manifest, read_file
from errata.data.releases.numbered import put_numbered
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, NotStored

NEITHER = ""  # the label of an image that a person was asked about, and that is of neither class
LABELLED, DECISIONS = "labelled.jsonl", "kinds.json"
NONE = Ledger(0)  # labelled images are of no release: the same ones give the same bytes

KindVerb = Literal["named", "dissolved", "restored", "merged", "split"]


@record(frozen=True, config=STRICT)
class KindDecision:
    """What a person decided about a kind: its `name`, that it is dissolved into pictures, or that it may be one again.

    `members` are the corrections that it had then. It stands for the kind of any later night to which more than half of
    those that are still in force belong; of several that do, the last counts.

    Kinds that are `merged` have `members` together. A kind that is `split` falls into `members` and `others`.
    """

    action: KindVerb
    members: tuple[str, ...]
    name: str = ""
    others: tuple[str, ...] = ()

    def about(self, corrections: frozenset[str], in_force: frozenset[str]) -> bool:
        """Whether it stands for a kind that has `corrections`, of a ledger with those `in_force`."""
        left = set(self.members) & in_force
        return 2 * len(left & corrections) > len(left)


@record(frozen=True, config=STRICT)
class RecordedDecision:
    """A decision as the store has it, with who made it, why and when (UTC). The number gives the order."""

    number: Count
    decision: KindDecision
    by: str
    why: str
    at: str
    format: Literal["errata-kind-decision/1"] = "errata-kind-decision/1"

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return layout.kind_decision(self.number)

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)


_RECORDED, _DECISIONS = TypeAdapter(RecordedDecision), TypeAdapter(tuple[KindDecision, ...])
_LABELLED = TypeAdapter(Correction)


@dataclass(frozen=True)
class KindInputs:
    """Labelled images as a ledger, and decisions in their order. Two that are equal give the same release."""

    labelled: Ledger = NONE
    decisions: tuple[KindDecision, ...] = ()

    def to_files(self) -> dict[str, bytes]:
        """The files of a bundle by name."""
        found = {}
        if self.labelled.corrections:
            found[LABELLED] = self.labelled.to_jsonl().encode()
        if self.decisions:
            found[DECISIONS] = canonical_json(self.decisions)
        return found

    @staticmethod
    def from_files(files: dict[str, bytes]) -> KindInputs:
        """`KindInputs.from_files(k.to_files()) == k`; raises Damaged or DataError."""
        labelled = Ledger.from_jsonl(files[LABELLED].decode()) if LABELLED in files else NONE
        restore = "restore it from its release"
        decisions = parse_record(_DECISIONS, files[DECISIONS], DECISIONS, restore) if DECISIONS in files else ()
        return KindInputs(labelled, decisions)


NO_INPUTS = KindInputs()


def stored_inputs(storage: Storage) -> KindInputs:
    """What the store holds now, but labels of photos that were erased. Raises Damaged."""
    lines, erased = [], erased_digests(storage)
    for key in storage.keys(layout.LABELLED):
        line = parse_record(_LABELLED, storage.read(key).content, f"{storage.url}/{key}", "label the image again")
        if layout.stem(key) != line.id:
            raise Damaged(f"{storage.url}/{key} is about another image than its name says; label the image again")
        if line.id not in erased:
            lines.append(line)
    return KindInputs(Ledger(0, tuple(lines)), tuple(each.decision for each in recorded_kind_decisions(storage)))


def released_inputs(storage: Storage, manifest: Manifest) -> KindInputs:
    """What a release was made with. Raises NotStored or Damaged."""
    names = [name for name in (LABELLED, DECISIONS) if name in manifest.files]
    return KindInputs.from_files({name: read_file(storage, manifest, name) for name in names})


def write_inputs(storage: Storage, folder: Path, inputs: KindInputs) -> None:
    """Lay the inputs out beside the ledger in `folder`, images as the store has them."""
    if inputs.labelled.corrections:
        copy_corrections(storage, folder / "labelled", inputs.labelled)
    else:
        shutil.rmtree(folder / "labelled", ignore_errors=True)
    (folder / DECISIONS).unlink(missing_ok=True)
    if content := inputs.to_files().get(DECISIONS):
        (folder / DECISIONS).write_bytes(content)


def load_inputs(folder: Path) -> KindInputs:
    """The inputs beside the ledger in `folder`; raises Damaged, DataError."""
    paths = {LABELLED: folder / "labelled" / "ledger.jsonl", DECISIONS: folder / DECISIONS}
    return KindInputs.from_files({name: path.read_bytes() for name, path in paths.items() if path.is_file()})


def label_image(storage: Storage, identity: str, pixels: Pixels, expected: str, by: str) -> Correction:
    """Keep that the image `pixels` `[h, w, c]`, of the model's input size, is of class `expected`. The last counts.

    Raises DataError if its photo was erased, Superseded if somebody else labels it at the same moment.
    """
    if identity in erased_digests(storage):
        raise DataError(f"image {identity[:12]} is of a photo that was erased: it is not taken again")
    keep_image(storage, identity, pixels)
    line, key = Correction(identity, expected, (by,)), layout.labelled_image(identity)
    try:
        tag = storage.read(key).tag
    except NotStored:
        tag = None
    storage.swap(key, canonical_json(line), expected=tag)
    return line


def recorded_kind_decisions(storage: Storage) -> tuple[RecordedDecision, ...]:
    """Every decision about kinds, in order. Raises Damaged."""
    restore = "restore it: it says what people decided about a kind"
    return tuple(
        parse_record(_RECORDED, storage.get(key), f"{storage.url}/{key}", restore)
        for key in storage.keys(layout.KIND_DECISIONS)
    )


def decide_kind(storage: Storage, decision: KindDecision, *, by: str, why: str, at: str) -> RecordedDecision:
    """Write a decision under the next free number; the next night honours it."""
    first = len(recorded_kind_decisions(storage)) + 1
    return put_numbered(storage, first, lambda number: RecordedDecision(number, decision, by, why, at))
