"""A gate split of new labelled images: it starts anew with looks, and what judged before is never forgotten.

No new image may be in any split, have judged before, be a copy of one that did, or have been reported: each such image
is left out. The old gate images are kept as the split `retired`, which no report may touch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from errata.data import layout
from errata.data.datasets import LabelledImages, load_dataset
from errata.data.images import ImageLimits, Pixels, decode_image, fit_image, pixel_digest
from errata.data.inbox.control_guard import ControlGuard
from errata.data.releases.erasure import erased_digests
from errata.data.splits import load_split, read_record, read_split, refreshed, write_split
from errata.editing.errors import DataError, ErrataError, NotStored, StoreUnusable
from errata.flows.night.one_at_a_time import alone
from errata.flows.night.parent import finish_splits
from errata.flows.night.state import Night
from errata.flows.releases.gate_images import keep_gate, name_gates
from errata.flows.stages.prepare import check_splits
from errata.flows.workspace import Workspace

BLOCK = 256  # images that are compared at once
JUDGED = ("gate", "retired", "sealed")  # splits by which a release was chosen, or checked


@dataclass(frozen=True)
class AddedGate:
    """The new gate split: its file's digest, its images, and how many were left out because of what."""

    digest: str
    images: int
    left_out: dict[str, int]


def add_gate(night: Night, source: Path) -> AddedGate:
    """Make the labelled images of `source`, of any form that a data set may have, the gate split from now on.

    Raises DataError if images or classes are not like the data set's, if a class has no image left, or if the split
    breaks an expectation of severity `critical`; nothing has changed then.
    """
    with alone(night, "the adding of a gate split"):
        workspace = night.workspace
        finish_splits(night)
        splits = {name: load_split(workspace.splits, name) for name in read_record(workspace.splits).splits}
        before = splits["gate"]
        height, width, channels = before.images.shape[1:]
        folder = workspace.splits.parent
        found = load_dataset(
            kind_of(source),
            source,
            image_shape=(height, width, channels),
            columns=workspace.params.data.columns,
            folder=folder,
        ).ordered(before.classes)
        rows, left_out = usable(night, found, splits)
        if missing := [name for index, name in enumerate(found.classes) if not (found.labels[rows] == index).any()]:
            told = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "none"
            raise DataError(f"no image of {', '.join(missing)} is left to judge by (left out: {told}); add some")
        with TemporaryDirectory(prefix="gate-", dir=folder) as temporary:
            path = Path(temporary) / "gate.npz"
            entry = write_split(found, path, rows)
            check_splits(workspace, refreshed(splits, [read_split(path, entry.sha256)], folder))
            keep_gate(night.storage, workspace, entry.sha256, path.read_bytes())
        if entry.sha256 not in workspace.params.data.gates:
            name_gates(workspace, [*workspace.params.data.gates, entry.sha256])
        Workspace(workspace.folder).dvc("repro", "prepare", log=night.log)
        return AddedGate(entry.sha256, entry.images, left_out)


def kind_of(source: Path) -> str:
    """The name of the data set that a path is: by its suffix, or by that of the files in a folder."""
    for suffix, name in ((".tar", "webdataset"), (".parquet", "parquet")):
        if source.suffix == suffix or any(source.glob(f"*{suffix}")):
            return name
    return "folder" if source.is_dir() else "csv"


def usable(
    night: Night, found: LabelledImages, splits: dict[str, LabelledImages]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Those of the images (indices) that nobody has seen, and how many others there are, by why."""
    digests = [pixel_digest(image) for image in found.images]
    labels: dict[str, set[int]] = {}
    for digest, label in zip(digests, found.labels, strict=True):
        labels.setdefault(digest, set()).add(int(label))
    known = {pixel_digest(image) for split in splits.values() for image in split.images}
    known |= night.looks.judged_images()
    erased = erased_digests(night.storage)
    guard = night.guard(found.images)
    copies = copied(guard, (image for name in JUDGED if name in splits for image in splits[name].images))
    reported = copied(guard, reported_images(night, found.images.shape[1:]))
    kept: list[int] = []
    why: Counter[str] = Counter()
    seen: set[str] = set()
    for index, digest in enumerate(digests):
        if len(labels[digest]) > 1:
            why["labelled as two classes"] += 1
        elif digest in seen:
            why["there twice"] += 1
        elif digest in known:
            why["in the data set already"] += 1
        elif digest in erased:
            why["erased"] += 1
        elif index in copies:
            why["a copy of an image that judged"] += 1
        elif index in reported:
            why["reported before"] += 1
        else:
            kept.append(index)
        seen.add(digest)
    return np.array(kept, np.int64), dict(why)


def copied(guard: ControlGuard, others: Iterator[Pixels]) -> set[int]:
    """Indices of the guard's images of which one of the `others` is a copy."""
    hit: set[int] = set()
    while block := list(islice(others, BLOCK)):
        hit |= {int(index) for index in guard.match(np.stack(block)) if index >= 0}
    return hit


def reported_images(night: Night, shape: tuple[int, ...]) -> Iterator[Pixels]:
    """Every reported image that can be decoded, and those of corrections, at the model's input size."""
    height, width, channels = shape
    for prefix in (layout.IMAGES, layout.CORRECTIONS):
        for key in night.storage.keys(prefix):
            try:
                yield fit_image(
                    decode_image(night.storage.get(key, at_most=ImageLimits().max_bytes)), (height, width, channels)
                )
            except StoreUnusable:
                raise
            except (ErrataError, NotStored) as fault:
                night.log(f"{key} cannot be compared with: {fault}")
