"""The replay set: the corrections of earlier releases, which a new root learns beside the train split.

    artifacts/replay/ledger.jsonl, images/     a dependency of the train stage; `replay.jsonl` in every bundle

It is written whenever a root is trained or restored, so that DVC's function has all its inputs everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from errata.data.datasets import LabelledImages
from errata.data.releases.ledger import Ledger, read_ledger
from errata.data.releases.manifest import Manifest, read_file
from errata.data.spool import spooled
from errata.data.storage.base import Storage
from errata.editing.errors import DataError

NAME = "replay.jsonl"
NAME_BEFORE = "lessons.jsonl"  # in bundles of version 0.1
NONE = Ledger(0)  # a replay set is of no release: the same corrections give the same bytes


def replay_of(storage: Storage, manifest: Manifest) -> Ledger:
    """The replay set that the root of a release was trained with; nothing if its bundle has none."""
    for name in (NAME, NAME_BEFORE):
        if name in manifest.files:
            return Ledger.from_jsonl(read_file(storage, manifest, name).decode())
    return NONE


def with_replay(folder: Path, split: LabelledImages, room: Path | None = None) -> LabelledImages:
    """The train split and the replay set in `folder`, as one, of which the images lie in `room` (see `spooled`).

    Raises DataError on a class that the data set has not.
    """
    height, width, channels = split.images.shape[1:]
    ledger, images = read_ledger(folder, (height, width, channels))
    classes = {name: index for index, name in enumerate(split.classes)}
    if unknown := {each.expected for each in ledger.corrections} - set(classes):
        raise DataError(f"corrections to {', '.join(sorted(unknown))}, which is no class of the data set; retract them")
    if not ledger.corrections:
        return split
    labels = np.array([classes[each.expected] for each in ledger.corrections], np.int64)
    together = spooled([split.images, images], split.images.shape[1:], room)
    return replace(split, images=together, labels=np.concatenate([split.labels, labels]))
