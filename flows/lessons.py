"""What a new root learns from beside the train split: the corrections of earlier releases, in a ledger of its own.

    artifacts/lessons/ledger.jsonl, images/     a dependency of the train stage; `lessons.jsonl` in every bundle

They are laid out whenever a root is trained or restored, so that DVC's function has all its inputs everywhere.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from data import layout
from data.datasets import LabelledImages
from data.manifest import Manifest, read_file
from data.storage.base import Storage
from editing.errors import DataError, NightError, NotStored
from flows.ledger import Ledger, read_ledger
from flows.workspace import Workspace

NAME = "lessons.jsonl"
NONE = Ledger(0)  # lessons are of no release: the same corrections give the same bytes


def lessons_of(storage: Storage, manifest: Manifest) -> Ledger:
    """What the root of a release had learned from; nothing if its bundle does not say."""
    return Ledger.from_jsonl(read_file(storage, manifest, NAME).decode()) if NAME in manifest.files else NONE


def lay_out_corrections(storage: Storage, folder: Path, ledger: Ledger) -> None:
    """Write a ledger and its images as the store has them, unless they lie there; NightError if the store lost one.

    Whoever reads the folder holds each image against its identity.
    """
    path, content = folder / "ledger.jsonl", ledger.to_jsonl().encode()
    if path.is_file() and path.read_bytes() == content:
        return
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    for each in ledger.corrections:
        try:
            image = storage.get(layout.correction_image(each.id))
        except NotStored as fault:
            raise NightError(f"{fault}: nothing can be solved or trained with it; restore it, or retract it") from fault
        (folder / "images" / f"{each.id}.png").write_bytes(image)
    path.write_bytes(content)  # last: a folder with a ledger is whole


def with_lessons(workspace: Workspace, split: LabelledImages) -> LabelledImages:
    """The train split and the lessons, as one; raises DataError if a lesson is of a class that the data set has not."""
    height, width, channels = split.images.shape[1:]
    ledger, images = read_ledger(workspace.lessons, (height, width, channels))
    classes = {name: index for index, name in enumerate(split.classes)}
    if unknown := {each.expected for each in ledger.corrections} - set(classes):
        raise DataError(f"corrections to {', '.join(sorted(unknown))}, which is no class of the data set; retract them")
    labels = np.array([classes[each.expected] for each in ledger.corrections], np.int64)
    return replace(split, images=np.concatenate([split.images, images]), labels=np.concatenate([split.labels, labels]))
