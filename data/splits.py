"""The control set and its disjoint parts, made once, and recorded by digest.

Disjoint by pixels, not by index only: of equal images one is kept (a copy would be counted twice by every bound), and
of equal images with different labels none.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.datasets import LabelledImages
from errata.data.images import pixel_digest
from errata.data.records import STRICT, Count, Sha256, canonical_json, parse_record
from errata.editing.errors import Damaged, DataError

RECORD = "splits.json"
REST = -1
COLUMN = "column_"  # of what else is known of the images, in a split's file
LEARNED = ("train", "reference", "calibration")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


@dataclass(frozen=True, config=STRICT)
class SplitEntry:
    """One split: how many images it has, and the digest of its file."""

    images: Count
    sha256: Sha256


@dataclass(frozen=True, config=STRICT)
class SplitsRecord:
    """splits.json: every split by name."""

    splits: dict[str, SplitEntry]
    format: Literal["errata-splits/1"]

    @property
    def learned(self) -> dict[str, SplitEntry]:
        """The splits that a release is made from; the others only judge it."""
        return {name: self.splits[name] for name in LEARNED if name in self.splits}


_RECORD = TypeAdapter(SplitsRecord)


def make_splits(dataset: LabelledImages, sizes: dict[str, int], seed: int) -> dict[str, LabelledImages]:
    """Disjoint splits of the given sizes (one may be -1: all the rest), each with the data set's shares of classes.

    Within a split every class has its share to within one image. The same data, sizes and seed give the same splits.
    Raises DataError if the sizes cannot be had.
    """
    order = _spread(dataset, np.random.default_rng(seed))
    rest = len(order) - sum(size for size in sizes.values() if size != REST)
    if rest < 0 or list(sizes.values()).count(REST) > 1 or any(size < REST for size in sizes.values()):
        raise DataError(
            f"splits of {sizes} cannot be had from {len(order)} distinct images; lower them (one may be -1: the rest)"
        )
    splits, start = {}, 0
    for name, size in sizes.items():
        stop = start + (rest if size == REST else size)
        splits[name] = dataset.take(np.sort(order[start:stop]))
        start = stop
    return splits


def _spread(dataset: LabelledImages, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the distinct images, shuffled such that any stretch of them has each class in proportion.

    The images of a class are spread evenly over 0..1, from a random offset; sorting by place interleaves the classes.
    """
    labels_of: dict[str, set[int]] = {}
    first: dict[str, int] = {}
    for index, (image, label) in enumerate(zip(dataset.images, dataset.labels, strict=True)):
        digest = pixel_digest(image)
        first.setdefault(digest, index)
        labels_of.setdefault(digest, set()).add(int(label))
    distinct = np.array([index for digest, index in first.items() if len(labels_of[digest]) == 1], dtype=np.int64)
    place = np.empty(len(distinct))
    for label in range(len(dataset.classes)):
        mine = np.flatnonzero(dataset.labels[distinct] == label)
        if len(mine):
            place[rng.permutation(mine)] = (np.arange(len(mine)) + rng.random()) / len(mine)
    return distinct[np.argsort(place, kind="stable")]


def refreshed(splits: dict[str, LabelledImages], gates: Sequence[LabelledImages]) -> dict[str, LabelledImages]:
    """The same splits with the last of `gates` as the gate split; all that judged before it are the split `retired`.

    Raises DataError if the images are of another shape or other classes.
    """
    if not gates:
        return splits
    before = splits["gate"]
    for each in gates:
        if each.classes != before.classes or each.images.shape[1:] != before.images.shape[1:]:
            raise DataError("a gate split that was added has other classes or images of another size than the data set")
    retired = [before, *gates[:-1]]
    images, labels = (np.concatenate([getattr(each, name) for each in retired]) for name in ("images", "labels"))
    return {**splits, "gate": gates[-1], "retired": LabelledImages(images, labels, before.classes)}


def save_splits(splits: dict[str, LabelledImages], folder: Path) -> None:
    """Write `<name>.npz` for each split and `splits.json` with their digests; the same splits give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {}
    for name, split in splits.items():
        content = pack_split(split)
        (folder / f"{name}.npz").write_bytes(content)
        record[name] = SplitEntry(len(split), hashlib.sha256(content).hexdigest())
    (folder / RECORD).write_bytes(canonical_json(SplitsRecord(record, "errata-splits/1")))


def pack_split(split: LabelledImages) -> bytes:
    """An uncompressed .npz in which nothing depends on the time or on the version of a compressor."""
    out = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {
        "images": split.images,
        "labels": split.labels,
        "classes": np.array(split.classes),
        **{f"{COLUMN}{name}": values for name, values in split.columns.items()},
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getvalue())
    return out.getvalue()


def load_split(folder: Path, name: str) -> LabelledImages:
    """The split of that name. Raises DataError if it was never saved, Damaged if its bytes are not those recorded."""
    path = folder / f"{name}.npz"
    record = read_record(folder).splits
    if name not in record:
        raise DataError(f"{folder} has no split {name!r}; it has {', '.join(sorted(record))}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}; make the splits again (dvc repro prepare)") from error
    if hashlib.sha256(content).hexdigest() != record[name].sha256:
        raise Damaged(f"{path} is not the file that {RECORD} records; make the splits again (dvc repro prepare)")
    return unpack_split(content)


def unpack_split(content: bytes) -> LabelledImages:
    """The split of a file whose digest was checked: `unpack_split(pack_split(s))` is `s`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        classes = tuple(str(label) for label in arrays["classes"])
        columns = {name.removeprefix(COLUMN): arrays[name] for name in arrays.files if name.startswith(COLUMN)}
        return LabelledImages(arrays["images"], arrays["labels"], classes, columns)


def splits_digest(folder: Path) -> str:
    """SHA-256 (hex) of `splits.json`: one digest for every image and label of every split."""
    read_record(folder)
    return hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()


def read_record(folder: Path) -> SplitsRecord:
    """What splits.json says; raises DataError if there is none, Damaged on any other document."""
    path = folder / RECORD
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; make the splits (dvc repro prepare)") from error
    return parse_splits(content, str(path))


def parse_splits(content: bytes, where: str) -> SplitsRecord:
    """The record in a file's bytes; raises Damaged on any other document."""
    return parse_record(_RECORD, content, where, "make the splits again (dvc repro prepare)")
